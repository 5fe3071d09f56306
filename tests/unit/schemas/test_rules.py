"""Every rule of the language: what breaks it, where that is told, and what helps."""

import pytest

from schemas.errors import ErrorCode, Severity
from schemas.rules import Rule
from tests.unit.schemas.catalogue import problems_of
from tests.unit.schemas.rule_cases import CASES


@pytest.mark.parametrize(
    ("rule", "severity", "step", "path", "there", "message", "hint"),
    CASES,
    ids=[f"{case[0]}-{at}" for at, case in enumerate(CASES)],
)
def test_each_rule(
    rule: Rule,
    severity: Severity,
    step: str,
    path: str,
    there: str,
    message: str,
    hint: str | None,
) -> None:
    found = problems_of(step)
    ours = [one for one in found if one.rule == rule and one.path == f"steps[0]{path}"]
    assert len(ours) == 1, found
    problem = ours[0]
    assert problem.severity == severity
    assert message in problem.message
    assert (hint or "") in (problem.hint or "")
    assert problem.position is not None
    assert problem.position.line == 4
    assert f"  - {step}"[problem.position.column - 1 :].startswith(there)
    limit = rule.startswith("limit-")
    assert (problem.code == ErrorCode.LIMIT_EXCEEDED) is limit
    # What is tried breaks one rule, and the others find nothing in it.
    assert {one.rule for one in found} <= {rule, Rule.UNREACHABLE_STEP}, found


def test_every_rule_has_a_case_or_a_test_of_its_own() -> None:
    elsewhere = {
        Rule.BAD_DOCUMENT,
        Rule.LIMIT_SIZE,
        Rule.LIMIT_STEPS,
        Rule.LIMIT_DEPTH,
        Rule.LIMIT_ITEMS,
        Rule.LIMIT_ENTRIES,
        Rule.MAYBE_NOT_RUN,
        # Found by the API, which knows what is stored.
        Rule.UNKNOWN_CONNECTION,
        Rule.UNKNOWN_SECRET,
    }
    assert {case[0] for case in CASES} | elsewhere == set(Rule)


def test_steps_after_an_end_never_run() -> None:
    found = problems_of(
        "{id: c, type: condition, if: run.version > 1, then: [{id: e, type: stop}], "
        "else: [{id: f, type: fail}]}",
        "{id: a, type: delay, for: 1d}",
        "{id: b, type: delay, for: 1d, depends_on: []}",
        "{id: d, type: delay, for: 1d, depends_on: [a]}",
    )
    assert [(one.rule, one.path) for one in found] == [
        ("unreachable-step", "steps[1]"),
        ("unreachable-step", "steps[3]"),
    ]
    assert "'c'" in found[0].message


@pytest.mark.parametrize(
    "step",
    [
        "{id: c, type: stop, if: run.version > 1}",
        "{id: c, type: condition, if: run.version > 1, then: [{id: e, type: stop}]}",
        "{id: c, type: condition, if: run.version > 1, on_error: continue, "
        "then: [{id: e, type: stop}], else: [{id: f, type: fail}]}",
        "{id: c, type: for_each, items: [], do: [{id: e, type: stop}]}",
        "{id: c, type: parallel, join: any, branches: [{name: x, do: [{id: e, type: fail}]}]}",
    ],
)
def test_steps_after_what_may_end_the_run_can_be_reached(step: str) -> None:
    assert problems_of(step, "{id: a, type: delay, for: 1d}") == []


def test_problems_of_the_shape_hide_no_others() -> None:
    found = problems_of(
        "{id: a, type: delay, fro: 1d}",
        "{id: b, type: mail, with: {to: x}, retry: {attempts: 0}}",
        "{id: c, type: stop, if: steps.bb.output == 1}",
        "{id: d, type: mial}",
    )
    assert [(one.rule, one.path) for one in found] == [
        ("unknown-property", "steps[0].fro"),
        ("bad-value", "steps[1].retry.attempts"),
        ("unknown-step", "steps[2].if"),
        ("unknown-type", "steps[3].type"),
    ]
