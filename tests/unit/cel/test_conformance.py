"""Values, types and errors of the language, case by case."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schemas import cel
from schemas.errors import ErrorCode, ExpressionError

NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001 - a time without a zone is what is tried
VARIABLES: dict[str, Any] = {
    "input": {"budget": 2500, "name": "Ada", "tags": ["a", "b"], "none": None, "rate": 1.5},
    "steps": {"welcome": {"output": {"status": "sent", "id": 7}}, "a-b": {"output": 1}},
    "run": {"now": datetime(2026, 3, 29, 0, 30, tzinfo=UTC)},
    "rows": ({"id": 1}, {"id": 2}),
}

VALUES: list[tuple[str, Any]] = [
    ("1 + 2 * 3 - 4 / 2 % 3", 5),
    ("-7 / 2", -3),
    ("-7 % 2", -1),
    ("0x1F + 0xA", 41),
    ("-9223372036854775808", -(2**63)),
    ("1u + 2u", cel.Uint(3)),
    ("1.0 / 0.0", float("inf")),
    ("2 - 1 - 1", 0),
    ("(1 + 2) * 3", 9),
    ("!!true", True),
    ("--1", 1),
    ("1 - -1", 2),
    ("1 == 1.0", True),
    ("1u == 1", True),
    ("1 == '1'", False),
    ("true == 1", False),
    ("0 == false", False),
    ("1 in [true]", False),
    ("true in {1: 2}", False),
    ("null == false", False),
    ("[1, [2.0]] == [1.0, [2]]", True),
    ("{'a': 1} == {'a': 1.0}", True),
    ("{'a': 1, 'b': 2} == {'b': 2, 'a': 1}", True),
    ("1 < 1.5 && 2u > 1 && 'a' < 'b' && false < true", True),
    ("2 in [1, 2]", True),
    ("'a' in {'a': 1}", True),
    ("1.0 in {1: 2}", True),
    ("{true: 'x'}[true]", "x"),
    ("{1: 2}[1u]", 2),
    ("[1, 2][1.0]", 2),
    ("true || 1 / 0 == 1", True),
    ("1 / 0 == 1 || true", True),
    ("1 / 0 == 1 && false", False),
    ("input.budget || true", True),
    ("false ? 1 : true ? 2 : 3", 2),
    ("[1, 2, 3].all(x, x > 0)", True),
    ("['a', 1].exists(x, x > 0)", True),
    ("[1, 0].all(x, 1 / x == 5)", False),
    ("[1, 2, 3].exists_one(x, x > 2)", True),
    ("[1, 2, 3].filter(x, x > 1)", [2, 3]),
    ("[1, 2, 3].map(x, x * 2)", [2, 4, 6]),
    ("[1, 2, 3].map(x, x > 1, x * 2)", [4, 6]),
    ("{'b': 1, 'a': 2}.map(k, k)", ["b", "a"]),
    ("[1, 2].map(x, [10, 20].map(y, x + y))", [[11, 21], [12, 22]]),
    ("[1].map(x, [2].map(x, x))", [[2]]),
    ("[5].map(input, input)", [5]),
    ("[5].map(input, .input.budget)", [2500]),
    ("has(input.name) && !has(input.email)", True),
    ("has(input.none)", True),
    ("input.budget >= 2000 && steps.welcome.output.status == 'sent'", True),
    ("steps['a-b'].output + steps.`a-b`.output", 2),
    ("rows.map(row, row.id)", [1, 2]),
    ("rows[1].id", 2),
    ("size('é😀') + size(b'é') + size([1]) + {1: 2}.size()", 6),
    ("'abc'.contains('b') && 'abc'.startsWith('a') && 'abc'.endsWith('c')", True),
    (r"'ada@example.org'.matches(r'^[^@\s]+@[^@\s]+$')", True),
    ("matches('abc', 'b')", True),
    (r"""'\x41\u00e9\101\n' + "\U0001F600" + r'\n' + '''it's'''""", "AéA\n😀\\nit's"),
    (r"b'\xff\000' + b'a'", b"\xff\x00a"),
    ("int('12') + int(1.9) + int(2u) + int(timestamp(5))", 20),
    ("uint('5')", cel.Uint(5)),
    ("double('1.5e1')", 15.0),
    ("string(1) + string(1.0) + string(1e6) + string(true) + string(2u)", "111e+06true2"),
    ("bool('true')", True),
    ("bytes('é')", b"\xc3\xa9"),
    ("type(1) == int && type('') == string && type(null) == null_type", True),
    ("type(timestamp(0)) == google.protobuf.Timestamp", True),
    ("timestamp('2020-01-01T00:00:00+02:00')", datetime(2019, 12, 31, 22, tzinfo=UTC)),
    (
        "timestamp('2020-01-01T00:00:00Z') + duration('90m')",
        datetime(2020, 1, 1, 1, 30, tzinfo=UTC),
    ),
    ("timestamp(60) - timestamp(0)", timedelta(minutes=1)),
    ("duration('1h30m') > duration('1h')", True),
    ("timestamp(0).getDayOfWeek()", 4),
    ("timestamp('2026-07-01T23:00:00Z').getDate('Europe/Berlin')", 2),
    ("timestamp('2026-07-01T23:00:00Z').getHours('-02:30')", 20),
    ("string(duration('1.5s')) + string(timestamp(0))", "1.500s1970-01-01T00:00:00Z"),
    ("1 // a comment", 1),
    ("[1, 2,]", [1, 2]),
    # What the language adds to CEL.
    ("1 + 1.5", 2.5),
    ("input.budget * input.rate", 3750.0),
    ("' Ada '.trim().upper() + 'B'.lower()", "ADAb"),
    ("'a,b,,c'.split(',')", ["a", "b", "", "c"]),
    ("'abc'.split('')", ["a", "b", "c"]),
    ("['a', 'b'].join(', ') + ['c', 'd'].join()", "a, bcd"),
    ("'banana'.replace('an', 'o')", "booa"),
    ("default(input.email, 'none')", "none"),
    ("default(input.none, 'none')", "none"),
    ("default(input.none.deeper, 'none')", "none"),
    ("default(lead.name, 'none')", "none"),
    ("default(input.tags[9], 'none')", "none"),
    ("default(input.name, 'none')", "Ada"),
    ("default(max([]), 0)", 0),
    (
        """json({'b': [1, 1.5, null, true], 'a': 'é"', 1: 2u})""",
        '{"1":2,"a":"é\\"","b":[1,1.5,null,true]}',
    ),
    (
        "json(timestamp(0)) + json(duration('90s')) + json(b'abc')",
        '"1970-01-01T00:00:00Z""90s""YWJj"',
    ),
    ("""parse_json('{"a": [1, 2.5, null, "x"]}')""", {"a": [1, 2.5, None, "x"]}),
    ("date(run.now)", "2026-03-29"),
    ("date(run.now, 'America/New_York')", "2026-03-28"),
    ("date(run.now + days(1) + hours(23) + minutes(29) + seconds(60), 'UTC')", "2026-03-31"),
    ("days(1.5)", timedelta(hours=36)),
    ("min(3, 1.5, 2) + max([1, 2])", 3.5),
    ("sum([1, 2.5]) + sum([])", 3.5),
    ("sum([duration('1m'), duration('30s')])", timedelta(seconds=90)),
    (
        "[round(2.5), round(-2.5), round(2.4), floor(-1.5), ceil(1.2), abs(-3)]",
        [3, -3, 2, -2, 2, 3],
    ),
    ("[round(2.675, 2), round(7, 1), abs(-1.5)]", [2.68, 7.0, 1.5]),
]

ERRORS: list[tuple[str, str]] = [
    ("9223372036854775807 + 1", "integer overflow"),
    ("-(-9223372036854775808)", "integer overflow"),
    ("-9223372036854775808 / -1", "integer overflow"),
    ("4611686018427387904 * 2", "integer overflow"),
    ("18446744073709551615u + 1u", "unsigned integer overflow"),
    ("1u - 2u", "unsigned integer overflow"),
    ("9223372036854775808", "out of range"),
    ("1 / 0", "divide by zero"),
    ("1 % 0", "modulus by zero"),
    ("1.5 % 1.0", "no such overload: % does not take (double, double)"),
    ("1u + 1", "no such overload: + does not take (uint, int)"),
    ("1u + 1.5", "no such overload"),
    ("'a' + 1", "no such overload: + does not take (string, int)"),
    ("'a' < 1", "no such overload: < does not take (string, int)"),
    ("true < 1", "no such overload"),
    ("null < null", "no such overload"),
    ("-'a'", "no such overload: - does not take (string)"),
    ("!1", "no such overload: ! does not take (int)"),
    ("1 ? 2 : 3", "expected a bool, found a int"),
    ("1 && true", "expected a bool"),
    ("[1].all(x, x)", "expected a bool"),
    ("[1].exists_one(x, x)", "expected a bool"),
    ("[1].filter(x, 1)", "expected a bool"),
    ("'a'.all(x, true)", "needs a list or a map, not a string"),
    ("input.nmae", 'no such key: "nmae"'),
    ("input.none.x", 'cannot read field "x" of null'),
    ("input.name.x", 'cannot read field "x" of a string'),
    ("has(input.none.x)", "of null"),
    ("nothing", "unknown name `nothing`"),
    ("[1][1]", "index 1 is out of range"),
    ("[1][-1]", "index -1 is out of range"),
    ("[1]['0']", "must be an int, not a string"),
    ("[1][true]", "must be an int, not a bool"),
    ("'abc'[0]", "has no items to index"),
    ("{true: 2}[1]", "no such key"),
    ("{'a': 1, 'a': 2}", "two keys of the map are equal"),
    ("{1.5: 1}", "a double cannot be a key"),
    ("null in {'a': 1}", "a null_type cannot be a key"),
    ("'a' in 'abc'", "no such overload: in does not take (string, string)"),
    ("int('x')", "not an int"),
    ("int(1e30)", "out of the range of int"),
    ("uint(-1)", "unsigned integer overflow"),
    ("string(null)", "no such overload: string() does not take (null_type)"),
    ("string(b'\\xff')", "not valid UTF-8"),
    ("timestamp('2020-02-30T00:00:00Z')", "out of range"),
    ("timestamp('2020-01-01')", "not a timestamp"),
    ("timestamp(253402300800)", "out of range"),
    ("timestamp('9999-12-31T23:59:59Z') + duration('1s')", "timestamp overflow"),
    ("duration('1d')", "not a duration"),
    ("timestamp(0).getHours('Mars/Base')", "unknown time zone"),
    ("timestamp(0).getHours('../UTC')", "unknown time zone"),
    ("'a'.matches('(')", "invalid pattern: missing ): ("),
    ("[1].join(',')", "needs a list of strings, found a int"),
    ("json(0.0 / 0.0)", "no NaN"),
    ("json({1: 'a', '1': 'b'})", "the same in JSON"),
    ("json([{true: 1, 'true': 2}])", "the same in JSON"),
    ("parse_json('{')", "not JSON"),
    ("parse_json('NaN')", "not JSON"),
    ("parse_json('12345678901234567890')", "out of range"),
    ("sum(['a'])", "no such overload"),
    ("default(1 / 0, 1)", "divide by zero"),
    ("round(1.5, 99)", "0 to 15 digits"),
    ("floor(1e300)", "integer overflow"),
    ("days(1000000000000)", "out of range"),
]

SYNTAX: list[tuple[str, int]] = [
    ("", 0),
    ("1 +", 3),
    ("(1", 2),
    ("1 2", 2),
    ("a..b", 2),
    ("a.", 2),
    ("1 = 1", 2),
    ("a & b", 2),
    ("'open", 0),
    ("'\\q'", 1),
    ("for", 0),
    ("{1}", 2),
    ("true ? false ? 1 : 2 : 3", 13),
    ("[1].map(1, 2)", 8),
    ("has(a)", 0),
    ("default(1)", 0),
    ("nope(1)", 0),
    ("1 + size()", 4),
    ("upper('a')", 0),
    ("'a'.int()", 4),
    ("[1].map(x)", 4),
    ("\N{FULLWIDTH LATIN SMALL LETTER A}", 0),
    ("a -> b", 3),
    ("google.protobuf.Timestamp{}", 25),
]


@pytest.mark.parametrize(("source", "expected"), VALUES, ids=[source for source, _ in VALUES])
def test_value(source: str, expected: Any) -> None:
    """The expression has this value, of this very type."""
    value = cel.compile(source).evaluate(VARIABLES)
    assert type(value) is type(expected)
    assert value == expected
    if isinstance(value, list):
        assert [type(item) for item in value] == [type(item) for item in expected]


@pytest.mark.parametrize(("source", "message"), ERRORS, ids=[source for source, _ in ERRORS])
def test_error(source: str, message: str) -> None:
    """The expression is an error that says why."""
    with pytest.raises(ExpressionError) as caught:
        cel.compile(source).evaluate(VARIABLES)
    assert message in caught.value.message
    assert caught.value.code == ErrorCode.EXPRESSION_ERROR


@pytest.mark.parametrize(("source", "offset"), SYNTAX, ids=[source for source, _ in SYNTAX])
def test_syntax_error(source: str, offset: int) -> None:
    """What can never run is refused when compiled, with its place."""
    with pytest.raises(ExpressionError) as caught:
        cel.compile(source)
    assert caught.value.offset == offset


@pytest.mark.parametrize(
    ("source", "offset", "hint"),
    [
        ("1 + input.nmae.x", 10, "did you mean `name`?"),
        ("steps.welcom.output", 6, "did you mean `welcome`?"),
        ("inptu.name", 0, "did you mean `input`?"),
        ("steps['welcom']", 6, "did you mean `welcome`?"),
        ("size(input.budget)", 0, None),
        ("1 < 2 && 'a' > 1", 13, None),
    ],
)
def test_places_and_hints(source: str, offset: int, hint: str | None) -> None:
    """A run-time error names its place in the source and the nearest right name."""
    with pytest.raises(ExpressionError) as caught:
        cel.compile(source).evaluate(VARIABLES)
    assert (caught.value.offset, caught.value.hint) == (offset, hint)


def test_long_chains() -> None:
    """Chains of one level have no depth: 200 terms and 200 else-ifs are fine."""
    assert cel.compile("+".join(["1"] * 1_000)).evaluate({}) == 1_000
    assert cel.compile(" && ".join(["a > 0"] * 400)).evaluate({"a": 1}) is True
    assert cel.compile(" || ".join(["a < 0"] * 400)).evaluate({"a": 1}) is False
    choices = " : ".join(f"a == {number} ? {number}" for number in range(200))
    assert cel.compile(f"{choices} : -1").evaluate({"a": 199}) == 199


def test_large_variables_are_read_in_place() -> None:
    """Values above the limits may be read and passed on as they are."""
    text, rows = "x" * 150_000, [0] * 30_000
    values = {"input": {"text": text, "rows": rows}}
    assert cel.compile("input.text").evaluate(values) is text
    assert cel.compile("input").evaluate(values) is values["input"]
    assert cel.compile("size(input.text) + size(input.rows)").evaluate(values) == 180_000
    assert cel.compile("input.text.endsWith('xx')").evaluate(values) is True
    assert cel.compile("input.rows.all(r, r == 0)").evaluate({"input": {"rows": rows[:9_000]}})


def test_foreign_values_are_refused() -> None:
    """Python objects, naive times and integers out of range are no values."""
    for value in (object(), NAIVE, {1, 2}, complex(1)):
        for source in ("a", "[a]", "a == a", "string(a)", "a.real", "a.x"):
            with pytest.raises(ExpressionError):
                cel.compile(source).evaluate({"a": value})
    for source in ("a + 1", "string(a)", "json(a)", "double(a)", "a < 1.5", "-a"):
        with pytest.raises(ExpressionError):
            cel.compile(source).evaluate({"a": 10**5_000})


def test_programs_are_cached_and_count_steps() -> None:
    """The same source is compiled once; the steps depend on nothing but the values."""
    program = cel.compile("xs.map(x, x + 1)")
    assert cel.compile("xs.map(x, x + 1)") is program
    first = program.evaluate_counted({"xs": [1, 2]})
    assert first == program.evaluate_counted({"xs": [1, 2]}) == ([2, 3], program.cost + 10)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("input.budget >= 2000 && item", {("input", "budget"), ("item",)}),
        ("steps.welcome.output.id", {("steps", "welcome", "output", "id")}),
        ('steps["a-b"]["output"].x', {("steps", "a-b", "output", "x")}),
        ("steps[input.name].output", {("steps",), ("input", "name")}),
        ("input.rows[0].name", {("input", "rows")}),
        ("input.rows.map(r, r.id + vars.x)", {("input", "rows"), ("vars", "x")}),
        ("input.xs.map(x, x.ys.map(y, y + x + z.a))", {("input", "xs"), ("z", "a")}),
        ("[1].map(x, .x.y)", {("x", "y")}),
        (
            "has(input.a.b) || default(steps.x.output, 1)",
            {("input", "a", "b"), ("steps", "x", "output")},
        ),
        ("input.name.upper()", {("input", "name")}),
        ("type(1) == int && 1 == 2", set()),
        ("size(x) + x.size()", {("x",)}),
    ],
)
def test_references(source: str, expected: set[tuple[str, ...]]) -> None:
    """A program names the static chains that it reads, loop variables apart."""
    assert cel.compile(source).references == expected
