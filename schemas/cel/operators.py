"""CEL's arithmetic, with its one widening: int with double gives double."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from math import copysign, inf, isnan, nan
from typing import Any, Final

from schemas.cel.budget import Evaluation, built, check_entries, check_length
from schemas.cel.problems import no_overload
from schemas.cel.values import double_of, int64, kind_of, uint64
from schemas.errors import ExpressionError

_WIDENED: Final = frozenset({("double", "double"), ("int", "double"), ("double", "int")})
INT64_NANOSECONDS: Final = timedelta(microseconds=(2**63 - 1) // 1000)


def _doubles(sign: str, left: Any, right: Any) -> tuple[float, float]:
    left_kind, right_kind = kind_of(left), kind_of(right)
    if (left_kind, right_kind) not in _WIDENED:
        raise no_overload(sign, left_kind, right_kind)
    return double_of(left), double_of(right)


def _span(value: timedelta) -> timedelta:
    """Keep to durations of less than 2**63 nanoseconds, as CEL does."""
    if abs(value) > INT64_NANOSECONDS:
        raise ExpressionError("duration overflow")
    return value


def _moment(start: datetime, distance: timedelta) -> datetime:
    try:
        return start.astimezone(UTC) + distance
    except OverflowError:
        raise ExpressionError("timestamp overflow") from None


def add(evaluation: Evaluation, left: Any, right: Any) -> Any:
    """Add numbers, join strings, bytes or lists, and move timestamps by durations."""
    kinds = kind_of(left), kind_of(right)
    match kinds:
        case "int", "int":
            return int64(left + right)
        case "double", "double":
            return left + right
        case "string", "string":
            check_length(len(left) + len(right))
            return built(evaluation, left + right)
        case "list", "list":
            length = len(left) + len(right)
            check_entries(length)
            evaluation.charge(length >> 3)
            return [*left, *right]
        case "bytes", "bytes":
            length = len(left) + len(right)
            check_length(length)
            evaluation.charge(length >> 6)
            return left + right
        case "uint", "uint":
            return uint64(int(left) + int(right))
        case "timestamp", "duration":
            return _moment(left, right)
        case "duration", "timestamp":
            return _moment(right, left)
        case "duration", "duration":
            return _span(left + right)
        case _:
            one, other = _doubles("+", left, right)
            return one + other


def subtract(_: Evaluation, left: Any, right: Any) -> Any:
    """Subtract numbers, durations and timestamps."""
    kinds = kind_of(left), kind_of(right)
    match kinds:
        case "int", "int":
            return int64(left - right)
        case "double", "double":
            return left - right
        case "uint", "uint":
            return uint64(int(left) - int(right))
        case "timestamp", "timestamp":
            return _span(left - right)
        case "timestamp", "duration":
            return _moment(left, -right)
        case "duration", "duration":
            return _span(left - right)
        case _:
            one, other = _doubles("-", left, right)
            return one - other


def multiply(_: Evaluation, left: Any, right: Any) -> Any:
    """Multiply numbers."""
    kinds = kind_of(left), kind_of(right)
    match kinds:
        case "int", "int":
            return int64(left * right)
        case "uint", "uint":
            return uint64(int(left) * int(right))
        case _:
            one, other = _doubles("*", left, right)
            return one * other


def divide(_: Evaluation, left: Any, right: Any) -> Any:
    """Divide numbers: integers towards zero, doubles as IEEE 754."""
    kinds = kind_of(left), kind_of(right)
    if kinds in (("int", "int"), ("uint", "uint")):
        if right == 0:
            raise ExpressionError("divide by zero")
        quotient = abs(int(left)) // abs(int(right))
        if kinds[0] == "uint":
            return uint64(quotient)
        return int64(quotient if (left < 0) == (right < 0) else -quotient)
    one, other = _doubles("/", left, right)
    if other != 0:
        return one / other
    if one == 0 or isnan(one):
        return nan
    return copysign(inf, one) * copysign(1, other)


def modulo(_: Evaluation, left: Any, right: Any) -> Any:
    """Return the remainder of integers, with the sign of the left one."""
    kinds = kind_of(left), kind_of(right)
    if kinds not in (("int", "int"), ("uint", "uint")):
        raise no_overload("%", *kinds)
    if right == 0:
        raise ExpressionError("modulus by zero")
    remainder = abs(int(left)) % abs(int(right))
    if kinds[0] == "uint":
        return uint64(remainder)
    int64(-left if right == -1 else left)
    return int64(-remainder if left < 0 else remainder)


def negate(value: Any) -> Any:
    """Return the negative of an int or a double."""
    kind = kind_of(value)
    if kind == "int":
        return int64(-value)
    if kind == "double":
        return -value
    raise no_overload("-", kind)


ARITHMETIC: Final[dict[str, Callable[[Evaluation, Any, Any], Any]]] = {
    "+": add,
    "-": subtract,
    "*": multiply,
    "/": divide,
    "%": modulo,
}
