"""Checks at publish: each problem with its code, path, position and hint."""

from typing import Any

import pytest

from schemas.errors import DefinitionError, ErrorCode, InputError
from schemas.validation import check_input, find_problems, load_definition
from tests.unit.schemas.catalogue import problems_of


def test_a_sound_definition_has_no_problems() -> None:
    assert problems_of("{id: a, type: mail, with: {to: '{{ input.email }}'}}") == []


@pytest.mark.parametrize(
    ("step", "path", "message", "hint"),
    [
        ("{id: a, type: mial, with: {to: x}}", "steps[0].type", "'mial'", "mail"),
        ("{id: a, type: mail}", "steps[0].with", "'to'", None),
        (
            "{id: a, type: mail, with: {to: x, tires: 1}}",
            "steps[0].with.tires",
            "'tires'",
            "tries",
        ),
        (
            "{id: a, type: mail, with: {to: x, tries: 0}}",
            "steps[0].with.tries",
            "minimum",
            None,
        ),
        ("{id: a, type: mail, with: {to: 5}}", "steps[0].with.to", "string", None),
        ("{id: A-1, type: stop}", "steps[0].id", "pattern", None),
        ("{id: a, type: delay}", "steps[0]", "exactly one", None),
        ("{id: a, type: delay, for: 3 days}", "steps[0].for", "duration", None),
        (
            "{id: a, type: delay, for: 3d, until: run.now}",
            "steps[0]",
            "exactly one",
            None,
        ),
        ("{id: a, type: wait, event: x}", "steps[0]", "'event' needs 'key'", None),
        (
            "{id: a, type: stop, compensates: []}",
            "steps[0].compensates",
            "not interpreted",
            "did you mean 'compensate'?",
        ),
        (
            "{id: a, type: stop, on_error: retry}",
            "steps[0].on_error",
            "'fail', 'continue' or 'pause'",
            None,
        ),
        ("{id: a, type: stop, depends_on: [b]}", "steps[0].depends_on[0]", "'b'", None),
        ("{id: a, type: stop, depends_on: [a]}", "steps[0].depends_on", "a -> a", None),
        ("{id: a, type: fail, on_error: continue}", "steps[0]", "fails the run", None),
        (
            "{id: a, type: condition, if: 'input.budgte > 1'}",
            "steps[0].if",
            "budgte",
            "budget",
        ),
        (
            "{id: a, type: condition, if: 'input.budget'}",
            "steps[0].if",
            "bool is needed",
            None,
        ),
        (
            "{id: a, type: condition, if: 'input.budget > \"x\"'}",
            "steps[0].if",
            "int",
            None,
        ),
        ("{id: a, type: condition, if: '1 +'}", "steps[0].if", "", None),
        ("{id: a, type: condition}", "steps[0]", "exactly one", None),
        (
            "{id: a, type: condition, check: moon_phase}",
            "steps[0].check",
            "reply_received",
            None,
        ),
        (
            "{id: a, type: delay, until: '1'}",
            "steps[0].until",
            "timestamp is needed",
            None,
        ),
        (
            "{id: a, type: set, vars: {x: '{{ secrets.key }}'}}",
            "steps[0].vars.x",
            "secrets",
            None,
        ),
        (
            "{id: a, type: set, vars: {x: '{{ open'}}",
            "steps[0].vars.x",
            "not closed",
            None,
        ),
        (
            "{id: a, type: parallel, branches: [], join: any}",
            "steps[0].branches",
            "",
            None,
        ),
        ("{id: a, type: repeat, max: 3, do: []}", "steps[0].do", "at least 1", None),
    ],
)
def test_each_problem_names_its_place(step: str, path: str, message: str, hint: str | None) -> None:
    found = problems_of(step)
    at_path = [problem for problem in found if problem.path == path]
    assert at_path, found
    assert any(message in problem.message for problem in at_path), found
    assert all(problem.position is not None and problem.position.line >= 4 for problem in found)
    if hint is not None:
        assert any(hint in (problem.hint or "") for problem in at_path), found


def test_all_problems_are_reported_together() -> None:
    found = problems_of(
        "{id: a, type: mial}",
        "{id: a, type: stop}",
        "{id: b, type: mail, with: {too: x}}",
    )
    assert [problem.path for problem in found] == [
        "steps[0].type",
        "steps[1].id",
        "steps[2].with",
        "steps[2].with.too",
    ]
    assert [problem.position.line for problem in found if problem.position] == [
        4,
        5,
        6,
        6,
    ]


def test_results_can_be_read_only_where_they_are_there() -> None:
    later = problems_of(
        "{id: a, type: mail, with: {to: '{{ steps.b.output.id }}'}}",
        "{id: b, type: mail, with: {to: x}}",
    )
    assert [problem.path for problem in later] == ["steps[0].with.to"]
    assert "'b'" in later[0].message
    branches = problems_of(
        "{id: p, type: parallel, branches: ["
        "{name: x, do: [{id: a, type: mail, with: {to: x}}]},"
        "{name: y, do: [{id: b, type: mail, with: {to: '{{ steps.a.output.id }}'}}]}]}",
        "{id: c, type: mail, with: {to: '{{ steps.a.output.id }}{{ steps.p.output.x.id }}'}}",
    )
    assert [problem.path for problem in branches] == ["steps[0].branches[1].do[0].with.to"]
    loop = problems_of(
        "{id: l, type: for_each, items: '{{ [1] }}', as: n, do: "
        "[{id: a, type: mail, with: {to: '{{ string(n + index) }}'}}]}",
        "{id: b, type: mail, with: {to: '{{ steps.a.output.id }}'}}",
    )
    assert [problem.path for problem in loop] == ["steps[1].with.to"]


def test_results_of_actions_have_the_types_of_their_schema() -> None:
    found = problems_of(
        "{id: a, type: mail, with: {to: x}}",
        "{id: b, type: condition, if: 'steps.a.output.idd == \"x\"'}",
    )
    assert "idd" in found[0].message
    assert "id" in (found[0].hint or "")


def test_cycles_are_named() -> None:
    found = problems_of(
        "{id: a, type: stop, depends_on: [c]}",
        "{id: b, type: stop, depends_on: [a]}",
        "{id: c, type: stop, depends_on: [b]}",
    )
    assert [problem.message for problem in found] == [
        "the steps wait for each other: a -> c -> b -> a"
    ]


def test_a_bad_input_schema_is_refused() -> None:
    text = "name: a\ninput: {type: objekt}\nsteps: [{id: a, type: stop}]"
    assert find_problems(text, None)[0].path == "input"
    text = "name: a\ninput: {type: array}\nsteps: [{id: a, type: stop}]"
    assert find_problems(text, None)[0].path == "input.type"


@pytest.mark.parametrize(
    ("data", "number"),
    [
        (
            {
                "name": "a",
                "steps": [{"id": f"s{i}", "type": "stop"} for i in range(501)],
            },
            "500",
        ),
        ({"name": "a", "description": "x" * 600_000, "steps": []}, "524288"),
    ],
)
def test_limits_are_named_with_their_number(data: dict[str, Any], number: str) -> None:
    found = find_problems(data, None)
    assert found[0].code == ErrorCode.LIMIT_EXCEEDED
    assert number in found[0].message


def test_depth_is_limited() -> None:
    steps: list[dict[str, Any]] = [{"id": "end", "type": "stop"}]
    for depth in range(20):
        steps = [{"id": f"c{depth}", "type": "condition", "if": "true", "then": steps}]
    found = find_problems({"name": "a", "steps": steps}, None)
    assert found[0].code == ErrorCode.LIMIT_EXCEEDED
    assert "16" in found[0].message


@pytest.mark.parametrize("data", [[], "x", None, 5, {"steps": {}}, {"name": "a", "steps": [1, []]}])
def test_data_of_another_shape_is_refused(data: Any) -> None:
    assert find_problems(data, None)


def test_load_raises_with_every_problem() -> None:
    with pytest.raises(DefinitionError) as caught:
        load_definition({"name": "A", "steps": []}, None)
    assert {problem.path for problem in caught.value.problems} == {"name", "steps"}


def test_input_is_checked_with_paths() -> None:
    schema = {
        "type": "object",
        "required": ["email"],
        "properties": {
            "email": {"type": "string", "format": "email"},
            "tags": {"type": "array", "items": {"type": "integer"}},
        },
    }
    check_input(schema, {"email": "a@example.com", "tags": [1]})
    with pytest.raises(InputError) as caught:
        check_input(schema, {"email": "nobody", "tags": [1, "x"]})
    assert [problem.path for problem in caught.value.problems] == ["email", "tags[1]"]


@pytest.mark.parametrize("target", ["file:///etc/hostname", "http://127.0.0.1:1/schema.json"])
def test_schemas_reach_no_file_and_no_host(target: str) -> None:
    data = {
        "name": "a",
        "input": {"type": "object", "properties": {"x": {"$ref": target}}},
        "steps": [{"id": "a", "type": "stop"}],
    }
    assert [problem.path for problem in find_problems(data, None)] == ["input"]
