"""The exported JSON Schema accepts what the language accepts."""

from pathlib import Path

import jsonschema_rs
import pytest

from activities.registry import load
from schemas.document import parse_document
from schemas.language import language_schema
from schemas.validation import find_problems

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.yaml"))
SCHEMA = language_schema(load())


def test_the_schema_is_a_schema() -> None:
    jsonschema_rs.meta.validate(SCHEMA)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_valid_for_the_checks_and_for_editors(path: Path) -> None:
    text = path.read_text()
    assert find_problems(text, load()) == []
    validator = jsonschema_rs.validator_for(SCHEMA)
    assert [error.message for error in validator.iter_errors(parse_document(text).data)] == []


@pytest.mark.parametrize(
    "step",
    [
        "{id: a, type: nosuch}",
        "{id: a, type: email, with: {toes: x}}",
        "{id: a, type: delay, for: 3 days}",
        "{id: a, type: stop, extra: 1}",
    ],
)
def test_the_schema_refuses_what_the_checks_refuse(step: str) -> None:
    text = f"name: a\nsteps: [{step}]"
    assert find_problems(text, load())
    assert list(jsonschema_rs.validator_for(SCHEMA).iter_errors(parse_document(text).data))
