"""Reading of YAML and JSON with positions."""

import pytest

from schemas.document import parse_document
from schemas.errors import DefinitionError, Position


def test_words_that_yaml_1_1_takes_for_booleans_and_dates_stay_text() -> None:
    document = parse_document("on: yes\nday: 2026-01-01\noctal: 010\nnone: ~\nbig: 1e3\nt: true")
    assert document.data == {
        "on": "yes",
        "day": "2026-01-01",
        "octal": 10,
        "none": None,
        "big": 1000.0,
        "t": True,
    }


def test_positions_are_found_by_path_and_fall_back_to_the_parent() -> None:
    document = parse_document("steps:\n  - id: a\n    with: {to: x}\n")
    assert document.position("steps[0].with.to") == Position(line=3, column=16)
    assert document.position("steps[0].with.missing") == Position(line=3, column=11)
    assert document.position("steps[0].depends_on[3]") == Position(line=2, column=5)


def test_json_is_read_too() -> None:
    assert parse_document('{"a": [1, 2.5, null, "x"]}').data == {"a": [1, 2.5, None, "x"]}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "empty"),
        ("# only a comment\n", "empty"),
        ("a: [1", "expected"),
        ("a: 1\na: 2", "twice"),
        ("a: &x [1]\nb: *x", "anchors"),
        ("a: !!python/object:os.system x", "tags"),
        ("? [a, b]\n: 1", "key must be a text"),
        ("a: \x00", "not allowed"),
        ("[" * 5000, "nested deeper"),
        ("[" * 200 + "]" * 200, "nested deeper"),
    ],
)
def test_what_cannot_be_read_is_refused(text: str, word: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        parse_document(text)
    assert caught.value.problems
    assert word in " ".join(problem.message for problem in caught.value.problems)
