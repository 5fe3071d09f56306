"""`delivery: at_most_once`: where it may stand, and what an effect in doubt does."""

import pytest

from activities.registry import load
from schemas.definition import Definition
from schemas.document import parse_document
from schemas.steps import ActionStep
from schemas.validation import find_problems

MAIL = "with: {to: a@example.com, subject: Hi, text: Hi}"
CALL = "with: {method: POST, url: 'https://example.com'}"


def faults(step: str) -> list[tuple[str, str]]:
    source = f"name: test\nsteps:\n  - {step}\n"
    return [(one.path, one.message) for one in find_problems(source, load())]


@pytest.mark.parametrize(
    "step",
    [
        f"{{id: a, type: email, delivery: at_most_once, {MAIL}}}",
        f"{{id: a, type: email, delivery: at_least_once, {MAIL}}}",
        f"{{id: a, type: http, delivery: at_most_once, {CALL}}}",
        f"{{id: a, type: http, delivery: at_most_once, execution: queued, {CALL}}}",
        "{id: a, type: http, delivery: at_most_once, with: "
        "{method: \"{{ 'POST' }}\", url: 'https://example.com'}}",
    ],
)
def test_it_may_stand_at_effects(step: str) -> None:
    assert faults(step) == []


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (
            "{id: a, type: http, delivery: at_most_once, with: {url: 'https://x.org'}}",
            "GET changes",
        ),
        (
            "{id: a, type: http, delivery: at_most_once, with: {method: head, url: 'https://x.org'}}",
            "HEAD changes",
        ),
        (f"{{id: a, type: http, delivery: at_most_once, execution: inline, {CALL}}}", "inline"),
        ("{id: a, type: lead, delivery: at_most_once, with: {status: won}}", "keeps no books"),
        ("{id: a, type: ai, delivery: at_most_once, with: {prompt: x}}", "keeps no books"),
        (f"{{id: a, type: email, delivery: exactly_once, {MAIL}}}", "at_least_once"),
        ("{id: a, type: delay, for: 1s, delivery: at_most_once}", "delivery"),
    ],
)
def test_it_is_refused_where_it_means_nothing(step: str, said: str) -> None:
    assert [one for one in faults(step) if said in one[1]], faults(step)


@pytest.mark.parametrize(
    ("written", "does"),
    [
        ("delivery: at_most_once", "pause"),
        ("delivery: at_most_once, on_error: continue", "continue"),
        ("delivery: at_most_once, on_error: fail", "fail"),
        ("delivery: at_most_once, on_error: [{codes: [HTTP_ERROR], do: continue}]", "fail"),
        ("delivery: at_least_once", "fail"),
        ("title: x", "fail"),
    ],
)
def test_an_effect_in_doubt_waits_unless_the_step_says_otherwise(written: str, does: str) -> None:
    source = f"name: test\nsteps:\n  - {{id: a, type: email, {written}, {MAIL}}}\n"
    definition = Definition.model_validate(parse_document(source).data)
    # As a run carries it: only what was written.
    compact = definition.model_dump(mode="json", by_alias=True, exclude_unset=True)
    (step,) = Definition.model_validate(compact).steps
    assert isinstance(step, ActionStep)
    assert step.error_action("DELIVERY_UNKNOWN") == does
    assert step.error_action("EMAIL_REJECTED") != "pause"
