"""What is found before an expression runs."""

import pytest

from schemas import cel
from schemas.cel import CheckProblem

SCHEMA = {
    "type": "object",
    "required": ["email"],
    "properties": {
        "email": {"type": "string"},
        "budget": {"type": "integer"},
        "rate": {"type": "number"},
        "vip": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "address": {"type": "object", "properties": {"city": {"type": "string"}}},
        "extra": {"type": "object"},
        "open": {
            "type": "object",
            "properties": {"x": {"type": "integer"}},
            "additionalProperties": True,
        },
        "maybe": {"type": ["string", "null"]},
    },
}
STEP = cel.object_type({"output": cel.DYN, "status": cel.STRING, "error": cel.DYN})
VARIABLES = {
    "input": cel.type_from_json_schema(SCHEMA),
    "steps": cel.object_type({"welcome": STEP, "a-b": STEP}),
    "now": cel.TIMESTAMP,
    "item": cel.DYN,
}

GOOD = [
    ("input.budget >= 2000 && input.vip", cel.BOOL),
    ("input.budget * input.rate", cel.DOUBLE),
    ("input.budget == null", cel.BOOL),
    ("input.tags.map(t, t.upper())", cel.list_of(cel.STRING)),
    ("input.tags[0] + input.email", cel.STRING),
    ("input.extra.anything.at.all", cel.DYN),
    ("input.open.other", cel.DYN),
    ("input.maybe + 'x'", cel.DYN),
    ("steps.welcome.output.deep[0].er", cel.DYN),
    ("steps['a-b'].status", cel.STRING),
    ("item.x > 5 ? 1 : 2", cel.INT),
    ("now + days(3)", cel.TIMESTAMP),
    ("now - now", cel.DURATION),
    ("default(input.email, 'x')", cel.STRING),
    ("{'a': 1}.a", cel.INT),
    ("input.email.split('@')[1]", cel.STRING),
    ("size(input.tags) < 3.5", cel.BOOL),
    ("has(input.address.city)", cel.BOOL),
    ("input.address.exists(k, k == 'city')", cel.BOOL),
    ("type(1) == int", cel.BOOL),
    ("[1, 'a']", cel.list_of(cel.DYN)),
    ("round(input.rate)", cel.INT),
]

BAD = [
    ("input.emial", "unknown field", 6, "did you mean `email`?"),
    ("input.address.zip", "unknown field", 14, "there are: city"),
    ("input['emial']", "unknown field", 6, "did you mean `email`?"),
    ("has(input.emial)", "unknown field", 10, "did you mean `email`?"),
    ("steps.welcom.output", "unknown field", 6, "did you mean `welcome`?"),
    ("steps.welcome.ouput", "unknown field", 14, "did you mean `output`?"),
    ("inputs.email", "unknown name `inputs`", 0, "did you mean `input`?"),
    ("sizee(input.tags)", "unknown function `sizee`", 0, "did you mean `size`?"),
    ("size(1, 2)", "size() takes 1 argument(s), not 2", 0, None),
    ("'a'.replace('b')", "replace() takes 2 argument(s), not 1", 4, None),
    ("upper(input.email)", "upper() is a method", 0, "write value.upper()"),
    ("map(input.tags)", "map() is used wrongly", 0, None),
    ("input.email >= 5", "does not compare a string with an int", 12, "convert the string"),
    ("input.email == 5", "does not compare", 12, "convert the string"),
    ("now > '2026-01-01'", "does not compare", 4, "timestamp(…)"),
    ("input.email + 5", "+ does not take (string, int)", 12, "string(…)"),
    ("input.vip + 1", "+ does not take (bool, int)", 10, None),
    ("input.email && true", "expected a bool, found a string", 0, None),
    ("input.budget ? 1 : 2", "expected a bool, found an int", 0, None),
    ("!input.budget", "expected a bool", 1, None),
    ("-input.email", "- does not take a string", 0, None),
    ("input.email.x", "a string has no fields", 12, None),
    ("input.budget[0]", "an int has no items", 13, None),
    ("input.tags['a']", "must be an int", 11, None),
    ("input.budget.all(x, true)", "needs a list or a map, not an int", 13, None),
    ("input.tags.all(t, t > 1)", "does not compare", 20, None),
    ("5 in input.tags", "never in a list of string", 2, None),
    ("'a' in input.email", "in needs a list or a map", 4, "text.contains(part)"),
    ("size(input.budget)", "size() does not take (int)", 0, None),
    ("{1.5: 2}", "cannot be double", 1, None),
    ("input.email.matches('(')", "invalid pattern", 20, None),
    ("1 +", "expected a value, found the end", 3, None),
    ("(" * 100, "nested deeper than 32", 32, None),
]


@pytest.mark.parametrize(("source", "expected"), GOOD, ids=[source for source, _ in GOOD])
def test_types(source: str, expected: cel.Type) -> None:
    """A right expression has a type and no problem."""
    assert cel.check(source, VARIABLES) == (expected, [])


@pytest.mark.parametrize(("source", "message", "offset", "hint"), BAD, ids=[one[0] for one in BAD])
def test_problems(source: str, message: str, offset: int, hint: str | None) -> None:
    """A wrong expression has one problem with its place."""
    _, problems = cel.check(source, VARIABLES)
    assert len(problems) == 1
    assert message in problems[0].message
    assert problems[0].offset == offset
    assert hint is None or hint in (problems[0].hint or "")


def test_all_problems_are_reported() -> None:
    """Every problem is found, in source order, not only the first."""
    _, problems = cel.check("inptu.x + input.emial > nope(1) && input.vip >= 'x'", VARIABLES)
    assert [problem.offset for problem in problems] == [0, 16, 24, 45]
    assert all(isinstance(problem, CheckProblem) for problem in problems)


def test_types_from_json_schema() -> None:
    """JSON Schema types become static ones; what is open is DYN."""
    read = cel.type_from_json_schema
    assert read({"type": "integer"}) == cel.INT
    assert read({"type": "number"}) == cel.DOUBLE
    assert read({"type": "boolean"}) == cel.BOOL
    assert read({"type": "null"}) == cel.NULL
    assert read({"type": "array"}) == cel.list_of(cel.DYN)
    assert read({"type": "object", "additionalProperties": {"type": "integer"}}) == cel.map_of(
        cel.INT
    )
    for open_schema in (True, {}, {"anyOf": []}, {"type": "string", "nullable": True}):
        assert read(open_schema) == cel.DYN
    known = read(SCHEMA)
    assert known.closed
    assert known.required == {"email"}
    assert known.fields is not None
    assert not known.fields["open"].closed
    nested: dict[str, object] = {"type": "string"}
    for _ in range(5_000):
        nested = {"type": "array", "items": nested}
    assert read(nested).kind == "list"
