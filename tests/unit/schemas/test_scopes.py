"""Every place of the grammar that holds an expression is checked, with the names it sees."""

import pytest

from tests.unit.schemas.catalogue import problems_of, rules_of

SENT = "{id: m, type: mail, with: {to: a}}"
# A place and a step with `?` where its expression stands.
CEL = {
    "steps[0].if": "{id: a, type: mail, with: {to: x}, if: ?}",
    "steps[0].on": "{id: a, type: switch, on: ?, cases: [{is: 1, do: []}]}",
    "steps[0].cases[0].if": "{id: a, type: switch, cases: [{if: ?, do: []}]}",
    "steps[0].while": f"{{id: a, type: repeat, while: ? && index < 5, max: 2, do: [{SENT}]}}",
    "steps[0].until": f"{{id: a, type: repeat, until: ? && index > 5, max: 2, do: [{SENT}]}}",
    "steps[0].where": "{id: a, type: wait, event: e, key: k, where: ?, timeout: 1d}",
    "steps[0].any[1].where": (
        "{id: a, type: wait, any: [{signal: s}, {event: e, key: k, where: ?}], timeout: 1d}"
    ),
}
VALUES = {
    "steps[0].with.to": "{id: a, type: mail, with: {to: ?}}",
    "steps[0].output.x": "{id: a, type: mail, with: {to: x}, output: {x: ?}}",
    "steps[0].with.lead": "{id: a, type: condition, check: reply_received, with: {lead: ?}}",
    "steps[0].cases[0].is": "{id: a, type: switch, on: input.email, cases: [{is: ?, do: []}]}",
    "steps[0].key": "{id: a, type: split, key: ?, variants: [{name: v, do: []}]}",
    "steps[0].items[0]": f"{{id: a, type: for_each, items: [?], do: [{SENT}]}}",
    "steps[0].window.timezone": "{id: a, type: delay, window: {timezone: ?}}",
    "steps[0].all[0].key": "{id: a, type: wait, all: [{event: e, key: ?}], timeout: 1d}",
    "steps[0].assignees[0]": "{id: a, type: approval, assignees: [?], timeout: 1d}",
    "steps[0].description": "{id: a, type: approval, assignees: [x], description: ?, timeout: 1d}",
    "steps[0].escalate.to[0]": (
        "{id: a, type: approval, assignees: [x], escalate: {after: 1h, to: [?]}, timeout: 1d}"
    ),
    "steps[0].input.x": "{id: a, type: workflow, definition: other, input: {x: ?}}",
    "steps[0].vars.x": "{id: a, type: set, vars: {x: ?}}",
    "steps[0].message": "{id: a, type: fail, message: ?}",
}
LISTS = {
    "then": "{id: a, type: condition, if: input.budget > 1, then: [?]}",
    "else": "{id: a, type: condition, if: input.budget > 1, else: [?]}",
    "cases[0].do": "{id: a, type: switch, on: input.budget, cases: [{is: 1, do: [?]}]}",
    "default": "{id: a, type: switch, on: input.budget, cases: [{is: 1, do: []}], default: [?]}",
    "variants[0].do": "{id: a, type: split, variants: [{name: v, do: [?]}]}",
    "branches[0].do": "{id: a, type: parallel, branches: [{name: v, do: [?]}]}",
    "do": "{id: a, type: for_each, items: [1], do: [?]}",
    "on_timeout": "{id: a, type: wait, signal: s, timeout: 1d, on_timeout: [?]}",
    "remind.do": (
        "{id: a, type: approval, assignees: [x], timeout: 1d, remind: {every: 1h, do: [?]}}"
    ),
    "escalate.do": (
        "{id: a, type: approval, assignees: [x], timeout: 1d, escalate: {after: 1h, do: [?]}}"
    ),
    "on_error": "{id: a, type: mail, with: {to: x}, on_error: [?]}",
    "on_error[0].do": "{id: a, type: mail, with: {to: x}, on_error: [{codes: [TIMEOUT], do: [?]}]}",
    "compensate": "{id: a, type: mail, with: {to: x}, compensate: [?]}",
}


@pytest.mark.parametrize(("path", "step"), CEL.items(), ids=CEL)
def test_every_expression_is_checked(path: str, step: str) -> None:
    assert rules_of(step.replace("?", "input.nope == 1")) == [("unknown-field", path)]


@pytest.mark.parametrize(("path", "step"), VALUES.items(), ids=VALUES)
def test_every_value_is_checked(path: str, step: str) -> None:
    assert rules_of(step.replace("?", "'{{ input.nope }}'")) == [("unknown-field", path)]


@pytest.mark.parametrize(("field", "step"), LISTS.items(), ids=LISTS)
def test_every_list_is_checked(field: str, step: str) -> None:
    wrong = "{id: w, type: mail, with: {to: '{{ steps.b.output }}'}}"
    assert rules_of(step.replace("?", wrong)) == [("unknown-step", f"steps[0].{field}[0].with.to")]
    typo = problems_of(step.replace("?", "{id: w, type: mial}"))
    assert [one.path for one in typo] == [f"steps[0].{field}[0].type"]


def test_places_of_the_definition_itself() -> None:
    for head, path in {
        "output: {x: '{{ input.nope }}'}": "output.x",
        "timezone: '{{ input.nope }}'": "timezone",
        "goal: {event: e, key: '{{ input.nope }}'}": "goal.key",
        "goal: {event: e, key: k, where: input.nope == 1}": "goal.where",
    }.items():
        assert rules_of(SENT, head=head) == [("unknown-field", path)]
    assert rules_of(SENT, head="timezone: Mars/Olympus") == [("bad-time-zone", "timezone")]


def test_what_is_rendered_for_the_whole_run_sees_no_steps() -> None:
    steps = (SENT, "{id: s, type: set, vars: {key: k}}")
    hidden = "{{ steps.a.output.id }}"
    for head, path in {
        f"timezone: '{{{{ input.nope }}}}-{hidden}'": "timezone",
        f"goal: {{event: e, key: '{{{{ input.nope }}}}{hidden}{{{{ vars.key }}}}'}}": "goal.key",
    }.items():
        found = rules_of(*steps, head=head)
        assert set(found) == {("unknown-field", path), ("not-yet-run", path)}
        assert len(found) == head.count("{{")
    seen = "run.id + lead.email"
    assert rules_of(*steps, head=f"goal: {{event: e, key: '{{{{ {seen} }}}}'}}") == []
    assert rules_of(*steps, head="timezone: '{{ vars.key }}'") == []
    [problem] = problems_of(*steps, head="goal: {event: e, key: 'k{{ vars.key }}'}")
    assert "as the run starts" in problem.message
    assert problem.hint == "read input, lead or run"


EVENT = (
    "event.id + string(event.source) + event.type + event.key + string(event.time) "
    "+ string(event.data.any)"
)
ERROR = "error.code + error.message + string(error.step) + string(error.details)"
NAMES = [
    (LISTS["on_error"], ERROR),
    (LISTS["on_error[0].do"], ERROR),
    (LISTS["compensate"], "error == null ? '' : error.code"),
    (LISTS["compensate"], "steps.a.output.id"),
    (LISTS["remind.do"], "string(index)"),
    (LISTS["do"], "string(item + index)"),
]


@pytest.mark.parametrize(("step", "source"), NAMES)
def test_lists_see_their_names_and_others_do_not(step: str, source: str) -> None:
    use = f'{{id: u, type: mail, with: {{to: "{{{{ {source} }}}}"}}}}'
    assert rules_of(step.replace("?", use)) == []
    outside = rules_of(step.replace("?", SENT), use)
    if not source.startswith("steps"):
        assert {rule for rule, _ in outside} == {"unknown-name"}


def test_events_are_seen_where_they_are() -> None:
    matching = CEL["steps[0].where"].replace("?", f"\"{EVENT} != ''\"")
    assert rules_of(matching) == []
    use = f'{{id: u, type: mail, with: {{to: "{{{{ {EVENT} }}}}"}}}}'
    head = f"goal: {{event: e, key: k, where: event.data.n > 1}}\non_goal: [{use}]"
    assert rules_of(SENT, head=head) == []
    failed = f"on_failure: [{use.replace(EVENT, ERROR)}]"
    assert rules_of(SENT, head=failed) == []
    assert ("unknown-name", "on_failure[0].with.to") in rules_of(SENT, head=f"on_failure: [{use}]")


def test_misspelt_fields_of_errors_and_events_are_told() -> None:
    use = "{id: u, type: mail, with: {to: '{{ error.cod }}'}}"
    found = problems_of(LISTS["on_error"].replace("?", use))
    assert [(one.rule, one.hint) for one in found] == [("unknown-field", "did you mean `code`?")]
    found = problems_of(CEL["steps[0].where"].replace("?", "event.date == 1"))
    assert [(one.rule, one.hint) for one in found] == [("unknown-field", "did you mean `data`?")]
