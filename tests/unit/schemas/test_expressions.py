"""Templates: where expressions stand in strings, and what rendering gives."""

from typing import Any

import pytest

from schemas.errors import ExpressionError
from schemas.expressions import parse_template, prune, references, render

SCOPE: dict[str, Any] = {
    "input": {"name": "Ada", "tags": ["a", "b"], "n": 3, "none": None},
    "run": {"now": "2026-03-01T10:00:00+00:00"},
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("{{ input.n }}", 3),
        ("{{ input.tags }}", ["a", "b"]),
        ("n={{ input.n }}", "n=3"),
        ("{{ input.name }}-{{ input.n }}", "Ada-3"),
        ("{{ input.none }}", None),
        ("<{{ input.none }}>", "<>"),
        ("{{ {'a': {'b': 1}} }}", {"a": {"b": 1}}),
        ("{{ '}}' + \"{{\" }}", "}}{{"),
        ("{{ true }}!", "true!"),
        ("{{ run.now + duration('3600s') }}", "2026-03-01T11:00:00Z"),
        ("{{ input.tags }} x", '["a","b"] x'),
        ("a } b { c", "a } b { c"),
    ],
)
def test_rendering(text: str, value: object) -> None:
    assert render(text, SCOPE) == value


def test_rendering_reaches_into_lists_and_mappings_but_not_into_keys() -> None:
    value = {"{{ x }}": ["{{ input.n }}", 1, None, {"deep": "{{ input.name }}"}]}
    assert render(value, SCOPE) == {"{{ x }}": [3, 1, None, {"deep": "Ada"}]}


@pytest.mark.parametrize("text", ["{{ input.n", "{{ 'x }}", "{{ }}", "{{ input. }}"])
def test_broken_templates_are_errors(text: str) -> None:
    with pytest.raises(ExpressionError):
        render(text, SCOPE)


def test_a_missing_value_is_an_error_and_never_empty_text() -> None:
    with pytest.raises(ExpressionError):
        render("Dear {{ input.nmae }}", SCOPE)


def test_offsets_of_expressions_point_into_the_text() -> None:
    assert parse_template("ab {{  input.n }}").sources == ((7, "input.n"),)


def test_references_and_pruning_keep_only_what_is_read() -> None:
    chains = list(references({"a": "{{ input.name }} {{ steps.x.output.id }}"}))
    assert chains == [("input", "name"), ("steps", "x", "output", "id")]
    big = {"name": "Ada", "other": "x" * 1000, "deep": {"a": 1, "b": 2}}
    assert prune(big, [("name",), ("deep", "b"), ("gone",)]) == {
        "name": "Ada",
        "deep": {"b": 2},
    }
    assert prune(big, [()]) is big
