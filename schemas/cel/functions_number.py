"""Conversions to numbers, bools and bytes, and arithmetic on numbers and lists of numbers."""

import math
import re
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

from schemas.cel.budget import Evaluation, check_length
from schemas.cel.operators import add
from schemas.cel.problems import MissingValue, no_overload
from schemas.cel.registry import Function
from schemas.cel.values import (
    INT_MAX,
    INT_MIN,
    NUMERIC,
    UINT_MAX,
    TypeValue,
    Uint,
    compare,
    double_of,
    int64,
    kind_of,
    uint64,
)
from schemas.errors import ExpressionError

_WHITESPACE: Final = "\t\n\v\f\r "
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,40}")
_DOUBLE: Final = re.compile(
    r"[+-]?(?:[0-9]+\.?[0-9]*(?:[eE][+-]?[0-9]+)?|\.[0-9]+(?:[eE][+-]?[0-9]+)?|inf|infinity|nan)",
    re.IGNORECASE | re.ASCII,
)
_HEX: Final = re.compile(r"[+-]?0[xX][0-9a-fA-F]{1,32}")
_TRUE: Final = frozenset({"1", "t", "true", "TRUE", "True"})
_FALSE: Final = frozenset({"0", "f", "false", "FALSE", "False"})
_TYPE_NAMES: Final = {
    "timestamp": "google.protobuf.Timestamp",
    "duration": "google.protobuf.Duration",
}
_MOST_DIGITS: Final = 15


def _same(_: Evaluation, value: Any) -> Any:
    return value


def _parsed_integer(text: str, kind: str) -> int:
    stripped = text.strip(_WHITESPACE) if len(text) <= 64 else ""
    if _INTEGER.fullmatch(stripped) is None:
        raise ExpressionError(f"the string is not an {kind}")
    return int(stripped)


def _int_from_string(_: Evaluation, text: str) -> int:
    return int64(_parsed_integer(text, "int"))


def _uint_from_string(_: Evaluation, text: str) -> Uint:
    if "-" in text[:64]:
        raise ExpressionError("the string is not an uint")
    return uint64(_parsed_integer(text, "uint"))


def _int_from_double(_: Evaluation, value: float) -> int:
    if not INT_MIN < value < INT_MAX:
        raise ExpressionError("the double is out of the range of int")
    return int(value)


def _uint_from_double(_: Evaluation, value: float) -> Uint:
    if not 0 <= value < UINT_MAX:
        raise ExpressionError("the double is out of the range of uint")
    return Uint(int(value))


def _double_from_string(_: Evaluation, text: str) -> float:
    stripped = text.strip(_WHITESPACE) if len(text) <= 512 else ""
    if _DOUBLE.fullmatch(stripped) is not None:
        return float(stripped)
    if _HEX.fullmatch(stripped) is not None:
        return float.fromhex(stripped)
    raise ExpressionError("the string is not a double")


def _bool_from_string(_: Evaluation, text: str) -> bool:
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ExpressionError("the string is not a bool", hint="write true or false")


def _bytes_from_string(evaluation: Evaluation, text: str) -> bytes:
    check_length(len(text))
    evaluation.charge(len(text) >> 6)
    try:
        value = text.encode()
    except UnicodeEncodeError:
        raise ExpressionError("the string is not valid Unicode") from None
    check_length(len(value))
    return value


def _type(_: Evaluation, value: Any) -> TypeValue:
    kind = kind_of(value)
    return TypeValue(_TYPE_NAMES.get(kind, kind))


def _least(evaluation: Evaluation, *values: Any) -> Any:
    return _extreme(evaluation, "min", "<", values)


def _greatest(evaluation: Evaluation, *values: Any) -> Any:
    return _extreme(evaluation, "max", ">", values)


def _least_of(evaluation: Evaluation, values: Sequence[Any]) -> Any:
    return _extreme(evaluation, "min", "<", values)


def _greatest_of(evaluation: Evaluation, values: Sequence[Any]) -> Any:
    return _extreme(evaluation, "max", ">", values)


def _extreme(evaluation: Evaluation, name: str, sign: str, values: Sequence[Any]) -> Any:
    if not values:
        raise MissingValue(f"{name}() of an empty list")
    best = values[0]
    for value in values:
        evaluation.charge(2)
        if compare(evaluation, sign, value, best):
            best = value
    return best


def _sum(evaluation: Evaluation, values: Sequence[Any]) -> Any:
    total: Any = values[0] if values else 0
    for position, value in enumerate(values):
        evaluation.charge(2)
        if kind_of(value) not in NUMERIC and kind_of(value) != "duration":
            raise no_overload("sum()", f"list of {kind_of(value)}")
        if position:
            total = add(evaluation, total, value)
    return total


def _whole(value: float) -> float:
    if not math.isfinite(value):
        raise ExpressionError("the double is out of the range of int")
    return value


def _floor(_: Evaluation, value: float) -> int:
    return int64(math.floor(_whole(value)))


def _ceil(_: Evaluation, value: float) -> int:
    return int64(math.ceil(_whole(value)))


def _rounded(value: float, digits: int) -> Decimal:
    """Round the number as it is written, halves away from zero."""
    return Decimal(repr(value)).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)


def _round(evaluation: Evaluation, value: float) -> int:
    evaluation.charge(2)
    if not -1e18 < value < 1e18:
        return int64(math.floor(_whole(value)))
    return int64(int(_rounded(value, 0)))


def _round_digits(evaluation: Evaluation, value: float, digits: int) -> float:
    if not 0 <= digits <= _MOST_DIGITS:
        raise ExpressionError(f"round() takes 0 to {_MOST_DIGITS} digits")
    evaluation.charge(2)
    value = double_of(value)
    if not -1e12 < value < 1e12:
        return value
    return float(_rounded(value, digits))


def _abs(_: Evaluation, value: Any) -> Any:
    return abs(value) if isinstance(value, float) else int64(abs(value))


_INT, _UINT, _DBL, _STR = ("int",), ("uint",), ("double",), ("string",)

NUMBER_FUNCTIONS: Final = (
    Function(
        "int",
        {
            _INT: (_same, "int"),
            _UINT: (lambda _, value: int64(int(value)), "int"),
            _DBL: (_int_from_double, "int"),
            _STR: (_int_from_string, "int"),
            ("bool",): (lambda _, value: int(value), "int"),
            ("timestamp",): (lambda _, value: math.floor(value.timestamp()), "int"),
        },
        free=True,
    ),
    Function(
        "uint",
        {
            _INT: (lambda _, value: uint64(value), "uint"),
            _UINT: (_same, "uint"),
            _DBL: (_uint_from_double, "uint"),
            _STR: (_uint_from_string, "uint"),
        },
        free=True,
    ),
    Function(
        "double",
        {
            _INT: (lambda _, value: double_of(value), "double"),
            _UINT: (lambda _, value: double_of(value), "double"),
            _DBL: (_same, "double"),
            _STR: (_double_from_string, "double"),
        },
        free=True,
    ),
    Function(
        "bool",
        {("bool",): (_same, "bool"), _STR: (_bool_from_string, "bool")},
        free=True,
    ),
    Function(
        "bytes",
        {("bytes",): (_same, "bytes"), _STR: (_bytes_from_string, "bytes")},
        free=True,
    ),
    Function("dyn", {("any",): (_same, "dyn")}, free=True),
    Function("type", {("any",): (_type, "type")}, free=True),
    Function(
        "min",
        {
            ("list",): (_least_of, "dyn"),
            **{("any",) * n: (_least, "dyn") for n in range(2, 9)},
        },
        free=True,
    ),
    Function(
        "max",
        {
            ("list",): (_greatest_of, "dyn"),
            **{("any",) * n: (_greatest, "dyn") for n in range(2, 9)},
        },
        free=True,
    ),
    Function("sum", {("list",): (_sum, "dyn")}, free=True),
    Function("floor", {_DBL: (_floor, "int"), _INT: (_same, "int")}, free=True),
    Function("ceil", {_DBL: (_ceil, "int"), _INT: (_same, "int")}, free=True),
    Function(
        "round",
        {
            _DBL: (_round, "int"),
            _INT: (_same, "int"),
            ("double", "int"): (_round_digits, "double"),
            ("int", "int"): (_round_digits, "double"),
        },
        free=True,
    ),
    Function("abs", {_DBL: (_abs, "double"), _INT: (_abs, "int")}, free=True),
)
