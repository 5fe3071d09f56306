"""Triggers as they are written: the union over kinds, and the examples of docs/triggers.md."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from schemas.trigger_checks import find_trigger_problems
from schemas.triggers import EventTrigger, InputTrigger, TriggerInput, TriggerKind

TEXT = (Path(__file__).parents[3] / "docs" / "triggers.md").read_text()
EXAMPLES = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
_given: TypeAdapter[TriggerInput] = TypeAdapter(TriggerInput)


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_are_valid(example: str) -> None:
    given = _given.validate_python(json.loads(example))
    assert isinstance(given, InputTrigger)
    where = getattr(given, "where", None)
    assert find_trigger_problems(where, given.input, {"type": "object"}, given.SCOPE) == []


def test_the_document_knows_every_kind_and_scheme() -> None:
    for kind in TriggerKind:
        assert f"| `{kind}` |" in TEXT
    for scheme in ("standard", "github", "stripe", "slack", "hmac", "none"):
        assert f'"scheme": "{scheme}"' in TEXT


def test_without_a_kind_it_is_of_events() -> None:
    assert isinstance(_given.validate_python({"event": "order.paid"}), EventTrigger)


@pytest.mark.parametrize(
    "given",
    [
        {"kind": "clock"},
        {"kind": "manual", "input": {}},
        {"kind": "webhook"},
        {"kind": "webhook", "verify": {"scheme": "none", "secrets": ["a"]}},
        {"kind": "form"},
        {"kind": ["api"]},
        [],
    ],
)
def test_what_is_no_trigger(given: Any) -> None:
    with pytest.raises(ValidationError):
        _given.validate_python(given)
