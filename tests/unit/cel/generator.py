"""Generates CEL expressions from a seed: mostly well typed, now and then deliberately not."""

import random
from collections.abc import Callable
from typing import Any, Final

VARIABLES: Final[dict[str, Any]] = {
    "i": 7,
    "j": -3,
    "zero": 0,
    "big": 2**62,
    "d": 2.5,
    "e": -0.125,
    "s": "hello",
    "t": "Wörld 😀",
    "empty": "",
    "yes": True,
    "no": False,
    "none": None,
    "xs": [1, 2, 3, 4],
    "ys": ["a", "b", "hello"],
    "mixed": [1, "a", None, 2.0, True, [1]],
    "nothing": [],
    "m": {"a": 1, "b": "x", "c": {"d": [1, 2, {"e": True}], "f": 1.5}, "n": None},
    "people": [
        {"id": 1, "name": "ann", "tags": ["x"], "score": 1.5},
        {"id": 2, "name": "bob", "tags": [], "score": None},
    ],
}

_KINDS: Final = (
    "int",
    "uint",
    "double",
    "string",
    "bool",
    "bytes",
    "list",
    "map",
    "timestamp",
    "duration",
    "null",
    "type",
)
_ORDERED: Final = (
    "int",
    "uint",
    "double",
    "string",
    "bool",
    "bytes",
    "timestamp",
    "duration",
)
_TIMES: Final = (
    "2020-01-01T00:00:00Z",
    "2024-02-29T23:59:59.999Z",
    "1969-07-20T20:17:40+02:00",
    "2025-06-30T12:00:00.123456-05:30",
    "0001-01-03T00:00:00Z",
    "9999-12-29T23:59:59Z",
    "2020-13-01T00:00:00Z",
    "2020-06-15T09:30:00Z",
    "2026-01-31T09:00:00.5+01:00",
    "1999-12-31T12:00:00-08:00",
)
_SPANS: Final = (
    "1h",
    "90m",
    "1h30m5s",
    "-2.5s",
    "100ms",
    "0",
    "250us",
    "1d",
    "x",
    "200000h",
)
_ZONES: Final = (
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "+05:30",
    "-08:00",
    "Mars",
)
_PATTERNS: Final = (
    "^h",
    "l+o$",
    "[a-z]*",
    "(a|b)c",
    "e",
    "(?i)H",
    "(",
    "ö",
    "\\\\d+",
    ".",
)
_INTEGERS: Final = [
    "0",
    "1",
    "2",
    "3",
    "7",
    "10",
    "-1",
    "-5",
    "100",
    "0x1F",
    "9223372036854775807",
    "-9223372036854775808",
    "4611686018427387904",
]
_UNSIGNED: Final = [
    "0u",
    "1u",
    "2u",
    "9u",
    "0xFFu",
    "18446744073709551615u",
    "9223372036854775808u",
]
_DOUBLES: Final = [
    "0.0",
    "1.0",
    "-1.5",
    "2.5",
    "0.1",
    "1e3",
    "1e6",
    "1.5e-7",
    "123456.789",
    "1e300",
    "-0.0",
    "9007199254740993.0",
    "3.0",
    ".5",
]
_STRINGS: Final = (
    '""',
    '"a"',
    '"hello"',
    "'it'",
    '"12"',
    '"-7"',
    '"1.5"',
    '"true"',
    '"é😀"',
    '"\\n\\x41\\u00e9"',
    'r"\\d"',
    '"""tri"ple"""',
    '" 5 "',
    '"1e3"',
)

# Equal keys would be an error that the oracle does not absorb, so these never are.
_KEYS: Final = (
    ('"a"', '"b"', '"zz"', '"é"'),
    ('"a"', "s", '""'),
    ("0", "1", "-5", "9223372036854775807"),
    ("0u", "2u", "18446744073709551615u"),
    ("true", "false"),
    ("1.5", '"a"'),
    ("null",),
)


class Generator:
    """Builds expressions; the same seed gives the same ones."""

    def __init__(self, seed: int) -> None:
        """Start from `seed`."""
        self._random = random.Random(seed)
        self._scope: list[tuple[str, str]] = []
        self._makers: dict[str, Callable[[int], str]] = {
            "int": self._int,
            "uint": self._uint,
            "double": self._double,
            "string": self._string,
            "bool": self._bool,
            "bytes": self._bytes,
            "list": self._list,
            "map": self._map,
            "timestamp": self._timestamp,
            "duration": self._duration,
            "null": lambda _: self._pick("null", "none", "m.n"),
            "type": self._type,
        }

    def expression(self, depth: int = 4) -> str:
        """Return one expression of a random type."""
        self._scope.clear()
        return self._any(depth)

    def _pick(self, *choices: str) -> str:
        return self._random.choice(choices)

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def _any(self, depth: int) -> str:
        weights = (5, 2, 4, 5, 8, 1, 4, 2, 2, 2, 1, 1)
        return self._of(self._random.choices(_KINDS, weights)[0], depth)

    def _of(self, kind: str, depth: int) -> str:
        """Return an expression of `kind`, or sometimes of another one."""
        if self._chance(0.015):
            kind = self._pick(*_KINDS)
        bound = [name for name, bound_kind in self._scope if bound_kind in (kind, "any")]
        if bound and self._chance(0.4):
            return self._pick(*bound)
        if depth > 0 and self._chance(0.06):
            condition = self._of("bool", depth - 1)
            return f"({condition} ? {self._of(kind, depth - 1)} : {self._of(kind, depth - 1)})"
        return self._makers[kind](depth)

    def _binary(self, kind: str, signs: tuple[str, ...], depth: int) -> str:
        terms = self._random.choice((2, 2, 2, 3))
        text = self._of(kind, depth - 1)
        for _ in range(terms - 1):
            text += f" {self._pick(*signs)} {self._of(kind, depth - 1)}"
        return f"({text})" if self._chance(0.7) else text

    def _int(self, depth: int) -> str:
        if depth <= 0 or self._chance(0.25):
            return self._pick(*_INTEGERS, "i", "j", "zero", "big", "m.a", "xs[0]", "people[0].id")
        choice = self._random.randrange(9)
        if choice < 3:
            return self._binary("int", ("+", "-", "*", "/", "%"), depth)
        if choice == 3:
            sized = self._of(self._pick("string", "list", "map", "bytes"), depth - 1)
            return f"size({sized})" if self._chance(0.5) else f"{sized}.size()"
        if choice == 4:
            kind = self._pick("string", "double", "uint", "int", "timestamp", "bool")
            return f"int({self._of(kind, depth - 1)})"
        if choice == 5:
            return self._getter(depth)
        if choice == 6:
            return f"-{self._of('int', depth - 1)}"
        if choice == 7:
            return f"{self._of('list', depth - 1)}[{self._of('int', 0)}]"
        key = self._pick('"a"', '"zz"', '"b"', "s")
        return f"{self._of('map', depth - 1)}[{key}]"

    def _getter(self, depth: int) -> str:
        name = self._pick(
            "FullYear", "Month", "Date", "DayOfMonth", "DayOfYear", "DayOfWeek", "Hours",
            "Minutes", "Seconds", "Milliseconds",
        )  # fmt: skip
        if self._chance(0.3):
            return f"{self._of('duration', depth - 1)}.get{name}()"
        zone = f'"{self._pick(*_ZONES)}"' if self._chance(0.4) else ""
        return f"{self._of('timestamp', depth - 1)}.get{name}({zone})"

    def _uint(self, depth: int) -> str:
        if depth <= 0 or self._chance(0.4):
            return self._pick(*_UNSIGNED)
        if self._chance(0.6):
            return self._binary("uint", ("+", "-", "*", "/", "%"), depth)
        return f"uint({self._of(self._pick('int', 'double', 'string', 'uint'), depth - 1)})"

    def _double(self, depth: int) -> str:
        if depth <= 0 or self._chance(0.3):
            return self._pick(*_DOUBLES, "d", "e", "m.c.f", "people[0].score")
        if self._chance(0.6):
            return self._binary("double", ("+", "-", "*", "/"), depth)
        if self._chance(0.3):
            return f"-{self._of('double', depth - 1)}"
        return f"double({self._of(self._pick('int', 'uint', 'string', 'double'), depth - 1)})"

    def _string(self, depth: int) -> str:
        if depth <= 0 or self._chance(0.35):
            return self._pick(*_STRINGS, "s", "t", "empty", "m.b", "people[1].name", "ys[0]")
        if self._chance(0.5):
            return self._binary("string", ("+",), depth)
        kind = self._pick(*_KINDS[:6], "timestamp", "duration")
        return f"string({self._of(kind, depth - 1)})"

    def _bytes(self, depth: int) -> str:
        if depth <= 0 or self._chance(0.5):
            return self._pick('b"abc"', 'b"\\xff\\000"', 'b"é"', 'b""')
        if self._chance(0.5):
            return self._binary("bytes", ("+",), depth)
        return f"bytes({self._of('string', depth - 1)})"

    def _timestamp(self, depth: int) -> str:
        if depth <= 0 or self._chance(0.5):
            return f'timestamp("{self._pick(*_TIMES)}")'
        if self._chance(0.7):
            sign = self._pick("+", "-")
            return f"({self._of('timestamp', depth - 1)} {sign} {self._of('duration', depth - 1)})"
        return f"timestamp({self._of('int', depth - 1)})"

    def _duration(self, depth: int) -> str:
        if depth <= 0 or self._chance(0.5):
            return f'duration("{self._pick(*_SPANS)}")'
        if self._chance(0.5):
            return self._binary("duration", ("+", "-"), depth)
        return f"({self._of('timestamp', depth - 1)} - {self._of('timestamp', depth - 1)})"

    def _type(self, depth: int) -> str:
        if depth <= 0 or self._chance(0.4):
            return self._pick("int", "string", "bool", "list", "map", "null_type", "type", "double")
        return f"type({self._any(depth - 1)})"

    def _list(self, depth: int) -> str:
        if depth <= 0 or self._chance(0.3):
            return self._pick("xs", "ys", "mixed", "nothing", "m.c.d", "people", "[]", "[1, 2, 3]")
        choice = self._random.randrange(5)
        if choice == 0:
            return self._binary("list", ("+",), depth)
        if choice == 1:
            kind = self._pick(*_KINDS)
            items = [self._of(kind, depth - 1) for _ in range(self._random.randrange(4))]
            return f"[{', '.join(items)}]"
        source = self._source(depth)
        if choice == 2:
            return self._loop(source, "filter", lambda: self._of("bool", depth - 2))
        if choice == 3:
            return self._loop(source, "map", lambda: self._any(depth - 2))
        return self._loop(
            source,
            "map",
            lambda: f"{self._of('bool', depth - 2)}, {self._any(depth - 2)}",
        )

    def _source(self, depth: int) -> str:
        """Return a list to loop over; never a map, whose order the oracle does not keep."""
        if self._chance(0.6):
            return self._pick(
                "xs", "ys", "mixed", "people", "[1, 2]", '["a", "b"]', "[true, false]"
            )
        return f"[{', '.join(self._any(depth - 2) for _ in range(self._random.randrange(4)))}]"

    def _loop(self, source: str, macro: str, body: Callable[[], str]) -> str:
        name = self._pick("x", "y", "z", "i")
        kind = {
            "xs": "int",
            "ys": "string",
            "[1, 2]": "int",
            '["a", "b"]': "string",
        }.get(source, "bool" if source == "[true, false]" else "any")
        self._scope.append((name, kind))
        text = f"{source}.{macro}({name}, {body()})"
        self._scope.pop()
        return text

    def _map(self, depth: int) -> str:
        if depth <= 0 or self._chance(0.4):
            return self._pick("m", "m.c", "people[0]", "{}", '{"a": 1}', "{1: 2, 2: 3}")
        keys = self._random.choice(_KEYS)
        chosen = self._random.sample(keys, self._random.randrange(min(len(keys), 3) + 1))
        return f"{{{', '.join(f'{key}: {self._any(depth - 1)}' for key in chosen)}}}"

    def _bool(self, depth: int) -> str:
        if depth <= 0 or self._chance(0.12):
            return self._pick("true", "false", "yes", "no", "m.c.d[2].e")
        choice = self._random.randrange(12)
        if choice < 3:
            return self._binary("bool", (self._pick("&&", "||"),), depth)
        if choice < 5:
            kind = self._pick(*_ORDERED)
            other = self._pick("int", "double", "uint") if kind in _ORDERED[:3] else kind
            sign = self._pick("<", "<=", ">", ">=")
            return f"({self._of(kind, depth - 1)} {sign} {self._of(other, depth - 1)})"
        if choice < 7:
            kind = self._pick(*_KINDS)
            other = kind if self._chance(0.8) else self._pick(*_KINDS)
            sign = self._pick("==", "!=")
            return f"({self._of(kind, depth - 1)} {sign} {self._of(other, depth - 1)})"
        if choice == 7:
            container = self._of(self._pick("list", "list", "map"), depth - 1)
            return f"({self._any(depth - 1)} in {container})"
        if choice == 8:
            test = self._pick("contains", "startsWith", "endsWith")
            return f"{self._of('string', depth - 1)}.{test}({self._of('string', depth - 1)})"
        if choice == 9:
            return f'{self._of("string", depth - 1)}.matches("{self._pick(*_PATTERNS)}")'
        if choice == 10:
            return self._pick(
                "has(m.a)", "has(m.zz)", "has(m.c.d)", "has(m.n)", "has(m.n.x)",
                "has(people[0].id)",
                f"has({self._of('map', depth - 1)}.a)", f"!{self._of('bool', depth - 1)}",
                f"bool({self._of('string', depth - 1)})",
            )  # fmt: skip
        macro = self._pick("all", "exists", "exists_one")
        source = self._source(depth) if self._chance(0.8) else self._pick("m", '{"a": 1, "b": 2}')
        return self._loop(source, macro, lambda: self._of("bool", depth - 2))
