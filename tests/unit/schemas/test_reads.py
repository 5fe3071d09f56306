"""Reads from inside the output of a step that may not have run: guarded, defaulted or refused."""

import pytest

from tests.unit.schemas.catalogue import problems_of, rules_of

TEST = "input.budget > 5"
IN_THEN = f"{{id: c, type: condition, if: {TEST}, then: [{{id: x, type: mail, with: {{to: a}}}}]}}"
GUARDED = f"{{id: x, type: mail, with: {{to: a}}, if: {TEST}}}"
TOLERANT = "{id: x, type: mail, with: {to: a}, on_error: continue}"
ROUTED = "{id: x, type: mail, with: {to: a}, on_error: [{codes: [TIMEOUT], do: continue}]}"
WAITING = "{id: x, type: wait, signal: go, timeout: 1h, on_timeout: continue}"
LATE = (
    "{id: w, type: wait, signal: go, timeout: 1h, on_timeout: [{id: x, type: mail, with: {to: a}}]}"
)
IN_CASE = (
    "{id: s, type: switch, on: input.budget, cases: [{is: 1, do: "
    "[{id: x, type: mail, with: {to: a}}]}]}"
)
IN_SPLIT = (
    "{id: s, type: split, variants: [{name: red, do: [{id: x, type: mail, with: {to: a}}]}, "
    "{name: blue, do: []}]}"
)
IN_RACE = (
    "{id: p, type: parallel, join: any, branches: "
    "[{name: one, do: [{id: x, type: mail, with: {to: a}}]}, {name: two, do: []}]}"
)
IN_GUARDED = (
    f"{{id: c, type: parallel, if: {TEST}, branches: "
    "[{name: one, do: [{id: x, type: mail, with: {to: a}}]}]}"
)
MAYBE = {
    "then": IN_THEN,
    "guard": GUARDED,
    "continue": TOLERANT,
    "routes": ROUTED,
    "wait": WAITING,
    "on_timeout": LATE,
    "case": IN_CASE,
    "split": IN_SPLIT,
    "race": IN_RACE,
    "inside-guarded": IN_GUARDED,
    "switch": IN_CASE.replace("id: s", "id: q").replace("id: x", "id: y").replace("id: q", "id: x"),
}
SAFE = [
    "default(steps.x.output.id, 'none')",
    "steps.x.output",
    "steps.x.output == null ? 'none' : steps.x.output.id",
    "steps.x.output != null && steps.x.output.id == 'b' ? 'b' : 'c'",
    "steps.x.output == null || steps.x.output.id == 'b' ? 'b' : 'c'",
    "!(steps.x.output == null) ? steps.x.output.id : 'none'",
    "steps.x.status",
    "default(has(steps.x.output.id), false) ? steps.x.output.id : 'none'",
    "default(steps.x.output.id, '') != '' ? steps.x.output.id : 'none'",
    "steps.x.error == null ? 'fine' : steps.x.error.code",
]
UNSAFE = [
    "steps.x.output.id",
    "steps['x']['output']['id']",
    "steps.x.output[0]",
    "has(steps.x.output.id) ? 'a' : 'b'",
    "steps.x.output == null ? steps.x.output.id : 'none'",
    "default('a', steps.x.output.id)",
    "[1].map(n, steps.x.output.id)",
    "steps.x.error == null ? steps.x.output.id : 'none'",
]


def using(source: str, more: str = "") -> str:
    return f'{{id: use, type: set, vars: {{v: "{{{{ {source} }}}}"}}{more}}}'


@pytest.mark.parametrize("first", MAYBE.values(), ids=MAYBE)
def test_a_plain_read_is_refused(first: str) -> None:
    found = problems_of(first, using("steps.x.output.id"))
    assert [(one.rule, one.severity, one.path) for one in found] == [
        ("maybe-not-run", "error", "steps[1].vars.v")
    ]
    assert "'x' may have no output here" in found[0].message
    assert "default(steps.x.output.id, …)" in (found[0].hint or "")
    assert found[0].code == "EXPRESSION_ERROR"


@pytest.mark.parametrize("source", SAFE)
def test_a_guarded_read_is_sound(source: str) -> None:
    for name in ("then", "guard", "continue", "wait"):
        assert rules_of(MAYBE[name], using(source)) == [], name


@pytest.mark.parametrize("source", UNSAFE)
def test_a_read_without_a_guard_is_refused(source: str) -> None:
    assert [rule for rule, _ in rules_of(GUARDED, using(source))] == ["maybe-not-run"]


@pytest.mark.parametrize(
    "guard",
    [
        "steps.x.output != null",
        "steps.x.status == 'completed'",
        "steps.c.output",
        "steps.c.output == true",
        "steps.c.output && input.budget > 7",
        TEST,
        f"{TEST} && input.email != ''",
        "default(steps.x.output.id, '') == 'b'",
    ],
)
def test_the_guard_of_a_step_counts_in_all_of_it(guard: str) -> None:
    quoted = guard.replace('"', "'")
    read = using("steps.x.output.id", f', if: "{quoted}"')
    assert rules_of(IN_THEN, read) == []
    nested = (
        f'{{id: d, type: condition, if: "{quoted}", then: [{using("steps.x.output.id")}], '
        f"else: [{using('steps.x.output.size').replace('id: use', 'id: other')}]}}"
    )
    assert rules_of(IN_THEN, nested) == [("maybe-not-run", "steps[1].else[0].vars.v")]


def test_a_way_that_ends_the_run_is_a_guard_for_the_rest() -> None:
    leave = "{id: d, type: condition, if: steps.x.output == null, then: [{id: e, type: stop}]}"
    assert rules_of(GUARDED, leave, using("steps.x.output.id")) == []
    ends = IN_THEN.replace("]}", "], else: [{id: e, type: fail}]}")
    assert rules_of(ends, using("steps.x.output.id")) == []


def test_what_ran_together_is_known_together() -> None:
    both = IN_THEN.replace("then: [", "then: [{id: y, type: mail, with: {to: a}}, ")
    read = "steps.y.output != null ? steps.x.output.id : ''"
    assert rules_of(both, using(read)) == []
    known = using("steps.x.output.id", ", if: \"steps.s.output.variant == 'red'\"")
    assert rules_of(IN_SPLIT, known) == []


def test_reads_inside_the_same_list_need_no_guard() -> None:
    inside = IN_THEN.replace("}]}", "}, " + using("steps.x.output.id") + "]}")
    assert rules_of(inside) == []
    joined = IN_RACE.replace("join: any, ", "")
    assert rules_of(joined, using("steps.x.output.id")) == []


def test_outputs_of_the_run_know_stops_and_goals() -> None:
    head = 'output: "{{ steps.x.output.id }}"'
    sent = "{id: x, type: mail, with: {to: a}}"
    early = "{id: c, type: condition, if: input.budget > 5, then: [{id: e, type: stop}]}"
    assert rules_of(sent, early, head=head) == []
    assert rules_of(early, sent, head=head) == [("maybe-not-run", "output")]
    assert rules_of(early.replace("stop}", "stop, output: 1}"), sent, head=head) == []
    goal = f"{head}\ngoal: {{event: won, key: k}}"
    assert rules_of(sent, head=goal) == [("maybe-not-run", "output")]


def test_recovery_lists_know_what_failed() -> None:
    read = using("steps.x.output.id")
    fallback = f"{{id: x, type: mail, with: {{to: a}}, on_error: [{read}]}}"
    assert rules_of(fallback) == [("maybe-not-run", "steps[0].on_error[0].vars.v")]
    undo = f"{{id: x, type: mail, with: {{to: a}}, compensate: [{read}]}}"
    assert rules_of(undo) == []
    head = f"on_failure: [{read}]"
    assert rules_of("{id: x, type: mail, with: {to: a}}", head=head) == [
        ("maybe-not-run", "on_failure[0].vars.v")
    ]


def test_a_loop_sees_its_own_results() -> None:
    body = "do: [{id: x, type: mail, with: {to: a}}]"
    until = f"{{id: r, type: repeat, max: 3, until: steps.x.output.id == 'b', {body}}}"
    assert rules_of(until, using("steps.r.output.id")) == []
    again = f"{{id: r, type: repeat, max: 3, while: steps.x.output.id == 'b', {body}}}"
    assert rules_of(again) == [("maybe-not-run", "steps[0].while")]
    later = again.replace("steps.x.output.id ==", "index == 0 || steps.x.output.id ==")
    assert rules_of(later) == []
    assert rules_of(later, using("steps.r.output.id")) == [("maybe-not-run", "steps[1].vars.v")]
    outside = problems_of(until, using("steps.x.output.id"))
    assert [one.rule for one in outside] == ["not-yet-run"]
    assert outside[0].hint == "read steps.r.output"


def test_a_delay_has_nothing_to_read() -> None:
    found = rules_of("{id: x, type: delay, for: 1d}", using("steps.x.output.id"))
    assert found == [("maybe-null", "steps[1].vars.v")]
