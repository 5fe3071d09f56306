"""Types of vars and of outputs, as far as they are known before a run."""

import pytest

from tests.unit.schemas.catalogue import rules_of

SENT = "{id: m, type: mail, with: {to: a}}"


def set_(name: str, value: str, more: str = "") -> str:
    return f"{{id: {name}, type: set, vars: {{v: {value}}}{more}}}"


def check(source: str) -> str:
    return f'{{id: use, type: condition, if: "{source}"}}'


# Steps, an expression that fits their types, and one that never can.
CASES = [
    (set_("s", "5"), "vars.v > 3", "vars.v == 'x'"),
    (set_("s", "text"), "vars.v == 'x'", "vars.v > 3"),
    (set_("s", "{a: 1}"), "vars.v.a == 1", "vars.v.b == 1"),
    (set_("s", "[1, 2]"), "vars.v[0] == 1", "vars.v[0] == 'x'"),
    (set_("s", "'{{ input.budget + 1 }}'"), "vars.v == 2", "vars.v == 'x'"),
    (set_("s", "'n: {{ input.budget }}'"), "vars.v == 'x'", "vars.v == 2"),
    (set_("s", "'{{ run.now }}'"), "vars.v == 'x'", "vars.v > run.now"),
    (set_("s", "'{{ input.tags }}'"), "'a' in vars.v", "1 in vars.v"),
    (set_("s", "5"), "steps.s.output.v > 3", "steps.s.output.w > 3"),
    (SENT, "steps.m.output.size > 3", "steps.m.output.size == 'x'"),
    (SENT, "steps.m.status == 'completed'", "steps.m.status == 3"),
    (SENT.replace("}}", "}, output: '{{ input.budget }}'}"), "steps.m.output > 3",
     "steps.m.output == 'x'"),
    ("{id: c, type: condition, check: reply_received}", "steps.c.output", "steps.c.output > 3"),
    (f"{{id: l, type: for_each, items: [1], do: [{SENT}]}}", "steps.l.output[0].size > 3",
     "steps.l.output[0].size == 'x'"),
    (f"{{id: l, type: for_each, items: [1], tolerate: 1, do: [{SENT}]}}",
     "steps.l.output[0].status == 'failed'", "steps.l.output[0].state == 'failed'"),
    (f"{{id: r, type: repeat, until: steps.m.output.size > 1, max: 2, do: [{SENT}]}}",
     "steps.r.output.size > 3", "steps.r.output.size == 'x'"),
    (f"{{id: p, type: parallel, branches: [{{name: b, do: [{SENT}]}}]}}",
     "steps.p.output.b.size > 3", "steps.p.output.b.size == 'x'"),
    (f"{{id: s, type: switch, on: input.budget, cases: [{{is: 1, do: [{SENT}]}}], "
     f"default: [{SENT.replace('id: m', 'id: n')}]}}",
     "steps.s.output.size > 3", "steps.s.output.size == 'x'"),
    (f"{{id: s, type: split, variants: [{{name: v, do: [{SENT}]}}]}}",
     "steps.s.output.output.size > 3", "steps.s.output.output.size == 'x'"),
    ("{id: w, type: wait, any: [{signal: s}], timeout: 1d}", "steps.w.output.index == 0",
     "steps.w.output.index == 'x'"),
    ("{id: w, type: wait, all: [{signal: s}], timeout: 1d}", "steps.w.output[0].x == 1",
     "steps.w.output.x == 1"),
    ("{id: a, type: approval, assignees: [x], timeout: 1d, form: {type: object, "
     "properties: {n: {type: integer}}}}",
     "steps.a.output.data.n > 3", "steps.a.output.data.n == 'x'"),
    ("{id: k, type: workflow, definition: other, mode: detach}", "steps.k.output.run_id == 'x'",
     "steps.k.output.status == 'x'"),
    ("{id: k, type: workflow, definition: other, depends: conditional}",
     "steps.k.output.status == 'failed'", "steps.k.output.status == 3"),
]  # fmt: skip


@pytest.mark.parametrize(("step", "fits", "clashes"), CASES)
def test_types_are_known(step: str, fits: str, clashes: str) -> None:
    assert rules_of(step, check(fits)) == []
    assert {rule for rule, _ in rules_of(step, check(clashes))} <= {"type-clash", "unknown-field"}
    assert rules_of(step, check(clashes))


def test_a_var_of_several_types_can_be_any() -> None:
    steps = [set_("a", "5"), set_("b", "text")]
    assert rules_of(*steps, check("vars.v > 3")) == []
    assert rules_of(*steps, check("vars.v == 'x'")) == []
    assert rules_of(set_("a", "5"), set_("b", "7"), check("vars.v == 'x'"))
    grown = set_("b", "'{{ vars.v + 1 }}'")
    assert rules_of(set_("a", "0"), grown, check("vars.v > 3")) == []


def test_items_have_the_type_of_their_list() -> None:
    each = (
        "{id: l, type: for_each, items: '{{ input.tags }}', as: tag, "
        "do: [{id: u, type: condition, if: '?'}]}"
    )
    assert rules_of(each.replace("?", 'tag.startsWith("a") && item != ""')) == []
    assert [rule for rule, _ in rules_of(each.replace("?", "tag > 1"))] == ["type-clash"]


def test_fallbacks_make_an_output_open() -> None:
    fallback = SENT.replace("}}", "}, on_error: [{id: f, type: set, vars: {q: 1}}]}")
    assert rules_of(fallback, check("default(steps.m.output.q, 0) == 1")) == []


def test_unknown_vars_have_a_hint() -> None:
    assert rules_of(set_("s", "5"), check("vars.w > 3")) == [("unknown-field", "steps[1].if")]
