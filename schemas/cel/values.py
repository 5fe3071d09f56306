"""The values of CEL as plain Python values: kinds, equality, order and map lookup."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import NoneType
from typing import Any, Final

from schemas.cel.budget import MAX_VALUE_DEPTH, BudgetExceeded, Evaluation
from schemas.cel.problems import MissingValue, missing_key, no_overload, quoted
from schemas.errors import ExpressionError

INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**63 - 1
UINT_MAX: Final = 2**64 - 1


class Uint(int):
    """An unsigned 64-bit integer of CEL; for Python an ordinary int."""

    __slots__ = ()


class TypeValue(str):
    """A type as a value, such as the result of `type(1)`; for Python the type's name."""

    __slots__ = ()


_KINDS: Final[dict[type, str]] = {
    bool: "bool",
    int: "int",
    Uint: "uint",
    float: "double",
    str: "string",
    bytes: "bytes",
    list: "list",
    tuple: "list",
    dict: "map",
    NoneType: "null_type",
    timedelta: "duration",
    TypeValue: "type",
}

_BASES: Final[tuple[tuple[type, str], ...]] = (
    (str, "string"),
    (int, "int"),
    (float, "double"),
    (Mapping, "map"),
    (list, "list"),
    (tuple, "list"),
    (bytes, "bytes"),
)

TYPE_NAMES: Final = frozenset(
    {
        "bool",
        "bytes",
        "double",
        "int",
        "list",
        "map",
        "null_type",
        "string",
        "type",
        "uint",
    }
)

NUMERIC: Final = frozenset({"int", "uint", "double"})


def kind_of(value: Any) -> str:
    """Return the name of the value's CEL type; a foreign Python type is an ExpressionError."""
    kind = _KINDS.get(type(value))
    if kind is not None:
        return kind
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ExpressionError("a timestamp without a timezone cannot be used in an expression")
        return "timestamp"
    for base, name in _BASES:
        if isinstance(value, base):
            return name
    raise ExpressionError(f"a {type(value).__name__} cannot be used in an expression")


def double_of(value: float) -> float:
    """Return a number as a double."""
    try:
        return float(value)
    except OverflowError:
        raise ExpressionError("the integer is out of range") from None


def int64(value: int) -> int:
    """Return `value` if it fits 64 bits, else raise."""
    if INT_MIN <= value <= INT_MAX:
        return value
    raise ExpressionError("integer overflow")


def uint64(value: int) -> Uint:
    """Return `value` as an unsigned integer if it fits 64 bits, else raise."""
    if 0 <= value <= UINT_MAX:
        return Uint(value)
    raise ExpressionError("unsigned integer overflow")


_PLAIN: Final = frozenset({int, bool, float, NoneType, Uint})


def equal(evaluation: Evaluation, left: Any, right: Any, depth: int = 0) -> bool:
    """Compare as CEL's `==`: numbers across types by value, other unlike types are unequal."""
    kind = type(left)
    if kind is type(right):
        if kind in _PLAIN:
            return left == right
        if kind is str:
            evaluation.charge(min(len(left), len(right)) >> 8)
            return left == right
    left_kind, right_kind = kind_of(left), kind_of(right)
    if left_kind != right_kind:
        return _equal_numbers(left_kind, right_kind, left, right)
    if left_kind not in ("list", "map"):
        return left == right
    if len(left) != len(right):
        return False
    if depth >= MAX_VALUE_DEPTH:
        raise BudgetExceeded(f"the values compared are deeper than {MAX_VALUE_DEPTH} levels")
    same = _equal_lists if left_kind == "list" else _equal_maps
    return same(evaluation, left, right, depth + 1)


def _equal_numbers(left_kind: str, right_kind: str, left: Any, right: Any) -> bool:
    if left_kind not in NUMERIC or right_kind not in NUMERIC:
        return False
    if left_kind == "double" or right_kind == "double":
        return double_of(left) == double_of(right)
    return int(left) == int(right)


def _equal_lists(evaluation: Evaluation, left: Any, right: Any, depth: int) -> bool:
    for one, other in zip(left, right, strict=True):
        evaluation.charge(1)
        if not equal(evaluation, one, other, depth):
            return False
    return True


def _equal_maps(evaluation: Evaluation, left: Any, right: Any, depth: int) -> bool:
    for key in left:
        evaluation.charge(1)
        other = lookup(evaluation, right, key)
        if other is ABSENT or not equal(evaluation, left[key], other, depth):
            return False
    return True


def compare(evaluation: Evaluation, sign: str, left: Any, right: Any) -> bool:
    """Order two values by `sign`, one of `< <= > >=`; unlike types that are no numbers raise."""
    left_kind, right_kind = kind_of(left), kind_of(right)
    if left_kind == right_kind:
        if left_kind in ("list", "map", "null_type", "type"):
            raise no_overload(sign, left_kind, right_kind)
        if left_kind in ("string", "bytes") and len(left) > 256:
            evaluation.charge(min(len(left), len(right)) >> 8)
    elif left_kind not in NUMERIC or right_kind not in NUMERIC:
        raise no_overload(sign, left_kind, right_kind)
    elif left_kind == "double" or right_kind == "double":
        left, right = double_of(left), double_of(right)
    if sign == "<":
        return left < right
    if sign == "<=":
        return left <= right
    if sign == ">":
        return left > right
    return left >= right


ABSENT: Final = object()


def lookup(evaluation: Evaluation, mapping: Mapping[Any, Any], key: Any) -> Any:
    """Return the value at `key`, or ABSENT; integral doubles find integer keys.

    To Python `True` equals 1 and to CEL it does not, so a hit on such a key is checked.
    """
    if type(key) is str:
        return mapping.get(key, ABSENT)
    kind = kind_of(key)
    if kind == "double":
        if not key.is_integer():
            return ABSENT
        key = int(key)
    elif kind not in ("bool", "int", "uint", "string"):
        raise ExpressionError(f"a {kind} cannot be a key of a map")
    value = mapping.get(key, ABSENT)
    if value is ABSENT or kind == "string":
        return value
    for stored in mapping:
        evaluation.charge(1)
        if stored == key and (type(stored) is bool) == (kind == "bool"):
            return value
    return ABSENT


def select(value: Any, field: str) -> Any:
    """Return a map's field; raises MissingValue for one that is not there, and for null."""
    if isinstance(value, Mapping):
        try:
            return value[field]
        except KeyError:
            raise missing_key(value, field) from None
    if value is None:
        raise MissingValue(f"cannot read field {quoted(field)} of null")
    raise ExpressionError(f"cannot read field {quoted(field)} of a {kind_of(value)}")


def index(evaluation: Evaluation, container: Any, key: Any) -> Any:
    """Return `container[key]` of a list or a map."""
    kind = kind_of(container)
    if kind == "map":
        value = lookup(evaluation, container, key)
        if value is ABSENT:
            raise missing_key(container, key)
        return value
    if kind == "list":
        key_kind = kind_of(key)
        if key_kind not in NUMERIC or (key_kind == "double" and not key.is_integer()):
            raise ExpressionError(f"the index of a list must be an int, not a {key_kind}")
        position = int(key)
        if not 0 <= position < len(container):
            raise MissingValue(f"index {position} is out of range: the list has {len(container)}")
        return container[position]
    if container is None:
        raise MissingValue("cannot index null")
    raise ExpressionError(f"a {kind} has no items to index")


def contains(evaluation: Evaluation, item: Any, container: Any) -> bool:
    """Tell whether a list holds an equal item, or a map the key."""
    kind = kind_of(container)
    if kind == "list":
        for one in container:
            evaluation.charge(1)
            if equal(evaluation, item, one):
                return True
        return False
    if kind == "map":
        return lookup(evaluation, container, item) is not ABSENT
    raise no_overload("in", kind_of(item), kind)
