"""Markers of secrets: only a bare reference makes one, and nothing else can be taken for one."""

from typing import Any

import pytest

from schemas.errors import ExpressionError
from schemas.expressions import render
from schemas.markers import DELIMITER, holds_markers, marker, names_in, resolved

FORGED = f"{DELIMITER}secrets.TOKEN{DELIMITER}"


def test_a_reference_renders_to_its_marker_alone_and_inside_text() -> None:
    given = {"a": "{{ secrets.TOKEN }}", "b": ["Bearer {{secrets.TOKEN}}"], "c": "{{ input.x }}"}
    rendered = render(given, {"input": {"x": 1}})
    assert rendered == {"a": marker("TOKEN"), "b": [f"Bearer {marker('TOKEN')}"], "c": 1}
    assert list(names_in(rendered)) == ["TOKEN", "TOKEN"]
    assert resolved(rendered, {"TOKEN": "t{{x}}"}) == {
        "a": "t{{x}}",
        "b": ["Bearer t{{x}}"],
        "c": 1,
    }


@pytest.mark.parametrize(
    "text",
    [
        "{{ input.x }}",
        "so: {{ input.x }}",
        "{{ input }}",
        "{{ [input.x] }}",
        "{{ {input.x: 1} }}",
        "{{ input.x + '' }}",
        "{{ input.half + 'secrets.TOKEN' + input.half }}",
        "{{ '\\ufdd0secrets.TOKEN\\ufdd0' }}",
        "{{ json(input) }}",
    ],
)
def test_data_that_could_be_a_marker_is_an_error(text: str) -> None:
    given = {"input": {"x": FORGED, "half": DELIMITER}}
    with pytest.raises(ExpressionError):
        render({"a": [text]}, given)


@pytest.mark.parametrize(
    "text",
    [
        "{{ secrets.TOKEN + 'x' }}",
        "{{ secrets }}",
        "{{ secrets['TOKEN'] }}",
        "{{ size(secrets.TOKEN) }}",
        "{{ secrets.TOKEN.size() }}",
        "{{ true ? secrets.TOKEN : '' }}",
    ],
)
def test_no_operator_sees_a_secret_or_its_marker_at_run_time_either(text: str) -> None:
    with pytest.raises(ExpressionError):
        render(text, {})


def test_a_loop_may_call_its_items_secrets() -> None:
    assert render("{{ secrets.a }}", {"secrets": {"a": 1}}) == 1


@pytest.mark.parametrize(
    ("value", "there"),
    [
        ("plain", False),
        ({"a": [1, None, {"b": "ünïcode"}]}, False),
        ({"a": [1, {"b": FORGED}]}, True),
        ({FORGED: 1}, True),
        (DELIMITER, True),
    ],
)
def test_a_delimiter_is_found_wherever_it_stands(value: Any, there: bool) -> None:
    assert holds_markers(value) is there
