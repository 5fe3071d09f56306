"""Compares the engine with cel-expr-python, the CEL project's own runtime.

The oracle runs without its static checker, so that what is compared is evaluation. Its maps have
a random order, its errors come back as values, and it takes at most 32 terms in a chain: the
generator loops over lists only where order shows, and keeps its chains short.
"""

import ctypes
import math
import sys
from datetime import datetime, timedelta
from typing import Any

import pytest
from cel_expr_python import cel as oracle

from schemas import cel
from schemas.cel import operators
from schemas.errors import ExpressionError
from tests.unit.cel.generator import VARIABLES, Generator

EXPRESSIONS = 8_000
SEED = 20_260_101

_TYPES: dict[type, str] = {
    bool: "BOOL",
    int: "INT",
    cel.Uint: "UINT",
    float: "DOUBLE",
    str: "STRING",
    bytes: "BYTES",
    list: "LIST<DYN>",
    dict: "MAP<DYN, DYN>",
    type(None): "NULL",
    datetime: "TIMESTAMP",
    timedelta: "DURATION",
    cel.TypeValue: "TYPE",
}
_TYPE_VALUES = {
    "int": "INT",
    "uint": "UINT",
    "double": "DOUBLE",
    "bool": "BOOL",
    "string": "STRING",
    "bytes": "BYTES",
    "list": "LIST<DYN>",
    "map": "MAP<DYN, DYN>",
    "null_type": "NULL",
    "type": "TYPE",
    "google.protobuf.Timestamp": "TIMESTAMP",
    "google.protobuf.Duration": "DURATION",
}
_BARE_TYPES = {"LIST": "LIST<DYN>", "MAP": "MAP<DYN, DYN>"}

_NONE = ctypes.py_object(None)
_HOLD = ctypes.pythonapi.Py_IncRef

Outcome = tuple[str, Any]


@pytest.fixture(scope="module")
def environment() -> Any:
    """Return the oracle with all variables of any type."""
    return oracle.NewEnv(variables=dict.fromkeys(VARIABLES, oracle.Type.DYN))


def plain(value: Any) -> Any:
    """Bring a value of either engine to one form that tells true from 1 and 1 from 1.0."""
    if isinstance(value, bytearray | bytes):
        return "bytes", bytes(value)
    if isinstance(value, cel.TypeValue):
        return "type", _TYPE_VALUES[value]
    if isinstance(value, oracle.Type):
        return "type", _BARE_TYPES.get(str(value), str(value))
    if isinstance(value, bool):
        return "bool", value
    if isinstance(value, int):
        return "integer", int(value)
    if isinstance(value, float):
        return "double", "nan" if math.isnan(value) else (
            value,
            math.copysign(1, value),
        )
    if isinstance(value, str):
        return "string", "nan" if value == "-nan" else value
    if isinstance(value, list):
        return "list", [plain(item) for item in value]
    if isinstance(value, dict):
        return "map", {plain(key): plain(item) for key, item in value.items()}
    return type(value).__name__, value


def theirs(environment: Any, source: str) -> Outcome:
    """Return the oracle's type and value, or its error."""
    try:
        result = environment.compile(source, disable_check=True).eval(data=VARIABLES)
    except RuntimeError as error:
        return "ERROR", str(error)
    kind, value = str(result.type()), result.plain_value()
    if kind == "ERROR":
        return "ERROR", str(value)
    for _ in range(nulls(value)):
        _HOLD(_NONE)
    return kind, plain(value)


def nulls(value: Any) -> int:
    """Count the nulls in a value: for each, the oracle drops a reference to None too many."""
    if isinstance(value, list):
        return sum(nulls(item) for item in value)
    if isinstance(value, dict):
        return sum(nulls(item) for item in value.values())
    return value is None


def ours(source: str) -> Outcome:
    """Return our type and value, or our error."""
    try:
        value = cel.compile(source).evaluate(VARIABLES)
    except ExpressionError as error:
        return "ERROR", error.message
    return _TYPES[type(value)], plain(value)


def same(one: Outcome, other: Outcome) -> bool:
    """Tell whether type and value agree; of errors only that they are errors."""
    return one[0] == other[0] and (one[0] == "ERROR" or one[1] == other[1])


def test_agrees_with_the_oracle(environment: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every generated expression has the oracle's type and value, or is an error in both.

    Where only the documented widening differs, the engine must agree once that is off.
    """
    generator = Generator(SEED)
    sources: dict[str, None] = {}
    while len(sources) < EXPRESSIONS:
        source = generator.expression()
        if len(source) <= 2_000:
            sources[source] = None
    differing: list[str] = []
    failures = widened = 0
    strict = frozenset({("double", "double")})
    for source in sources:
        expected, found = theirs(environment, source), ours(source)
        failures += expected[0] == "ERROR"
        if not same(expected, found):
            with monkeypatch.context() as patch:
                patch.setattr(operators, "_WIDENED", strict)
                if same(expected, ours(source)):
                    widened += 1
                    continue
            differing.append(f"{source}\n  oracle {expected}\n  ours   {found}")
    agreeing = len(sources) - widened - len(differing)
    sys.stdout.write(
        f"\n{len(sources)} expressions: {agreeing} agree ({failures} of them errors),"
        f" {widened} differ by the widening alone, {len(differing)} differ\n"
    )
    assert not differing, "\n".join(differing[:20])
    assert widened < EXPRESSIONS * 0.05
    assert EXPRESSIONS * 0.1 < failures < EXPRESSIONS * 0.6


@pytest.mark.parametrize("sign", ["+", "-", "*", "/"])
@pytest.mark.parametrize(("left", "right"), [("7", "2.5"), ("2.5", "7"), ("i", "d"), ("e", "j")])
def test_widening_is_an_error_in_the_oracle(
    environment: Any, sign: str, left: str, right: str
) -> None:
    """Arithmetic of int and double is a double here and an error in the oracle."""
    source = f"{left} {sign} {right}"
    assert theirs(environment, source)[0] == "ERROR"
    assert same(ours(source), theirs(environment, f"double({left}) {sign} double({right})"))
