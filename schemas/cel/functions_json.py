"""JSON out of a value, and a value out of JSON."""

import json
import math
import re
from base64 import b64encode
from collections.abc import Mapping
from json.encoder import encode_basestring
from typing import Any, Final

from schemas.cel.budget import (
    MAX_DEPTH,
    MAX_ENTRIES,
    MAX_VALUE_DEPTH,
    BudgetExceeded,
    Evaluation,
    built,
    check_entries,
    check_length,
)
from schemas.cel.functions_time import duration_text, timestamp_text
from schemas.cel.registry import Function
from schemas.cel.values import INT_MAX, INT_MIN, int64, kind_of
from schemas.errors import ExpressionError


class _Writer:
    """Collects the pieces of a JSON text and stops as soon as it grows too long."""

    def __init__(self, evaluation: Evaluation) -> None:
        self.pieces: list[str] = []
        self._evaluation = evaluation
        self._length = 0

    def _put(self, piece: str) -> None:
        self._length += len(piece)
        check_length(self._length)
        self.pieces.append(piece)

    def write(self, value: Any, depth: int = 0) -> None:
        """Write one value; a node costs two steps."""
        self._evaluation.charge(2)
        kind = kind_of(value)
        if kind == "map":
            self._nested(depth)
            self._map(value, depth)
        elif kind == "list":
            self._nested(depth)
            self._put("[")
            for position, item in enumerate(value):
                if position:
                    self._put(",")
                self.write(item, depth + 1)
            self._put("]")
        else:
            self._put(self._scalar(kind, value))

    def _nested(self, depth: int) -> None:
        if depth >= MAX_VALUE_DEPTH:
            raise BudgetExceeded(f"the value is deeper than {MAX_VALUE_DEPTH} levels")

    def _map(self, value: Mapping[Any, Any], depth: int) -> None:
        check_entries(len(value))
        self._evaluation.charge(len(value))
        keys = {_key(key): key for key in value}
        if len(keys) < len(value):
            # To the language 1 and '1' differ; in JSON every key is a string.
            raise ExpressionError("two keys of the map are the same in JSON")
        self._put("{")
        for position, (text, key) in enumerate(sorted(keys.items())):
            self._put("," if position else "")
            self._put(self._scalar("string", text))
            self._put(":")
            self.write(value[key], depth + 1)
        self._put("}")

    def _scalar(self, kind: str, value: Any) -> str:
        if kind == "string":
            check_length(len(value))
            self._evaluation.charge(len(value) >> 5)
            return encode_basestring(value)
        if kind == "bytes":
            check_length(len(value))
            self._evaluation.charge(len(value) >> 5)
            return f'"{b64encode(value).decode()}"'
        if kind in ("int", "uint"):
            return str(int64(int(value)) if kind == "int" else int(value))
        if kind == "double":
            if not math.isfinite(value):
                raise ExpressionError("JSON has no NaN and no infinity")
            return repr(value)
        if kind == "timestamp":
            return f'"{timestamp_text(value)}"'
        if kind == "duration":
            return f'"{duration_text(value)}"'
        if kind == "type":
            return encode_basestring(value)
        return {None: "null", True: "true", False: "false"}[value]


def _key(key: Any) -> str:
    if isinstance(key, str):
        return str(key)
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, int):
        return str(int(key))
    raise ExpressionError(f"a {kind_of(key)} cannot be a key of a map")


def _json(evaluation: Evaluation, value: Any) -> str:
    writer = _Writer(evaluation)
    writer.write(value)
    return built(evaluation, "".join(writer.pieces))


_STRINGS: Final = re.compile(r'"(?:[^"\\]|\\.)*(?:"|$)', re.DOTALL)
_BRACKETS: Final = re.compile(r"[\[\]{}]")


def _check_depth(text: str) -> None:
    """Refuse deep JSON before Python's own recursive parser sees it."""
    depth = 0
    for bracket in _BRACKETS.findall(_STRINGS.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_DEPTH:
            raise BudgetExceeded(f"the JSON is deeper than {MAX_DEPTH} levels")


def _integer(text: str) -> int:
    if len(text) > 20 or not INT_MIN <= int(text) <= INT_MAX:
        raise ExpressionError("the JSON holds an integer out of range")
    return int(text)


def _constant(name: str) -> Any:
    raise ExpressionError(f"the string is not JSON: {name}")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    check_entries(len(pairs))
    return dict(pairs)


def _parse_json(evaluation: Evaluation, text: str) -> Any:
    check_length(len(text))
    evaluation.charge(8 + (len(text) >> 2))
    _check_depth(text)
    try:
        value = json.loads(
            text, parse_int=_integer, parse_constant=_constant, object_pairs_hook=_pairs
        )
    except ValueError:
        raise ExpressionError("the string is not JSON") from None
    if isinstance(value, list | dict) and len(text) > MAX_ENTRIES:
        _check_lists(value)
    return value


def _check_lists(value: Any) -> None:
    stack = [value]
    while stack:
        one = stack.pop()
        if isinstance(one, list):
            check_entries(len(one))
            stack.extend(item for item in one if isinstance(item, list | dict))
        else:
            stack.extend(item for item in one.values() if isinstance(item, list | dict))


JSON_FUNCTIONS: Final = (
    Function("json", {("any",): (_json, "string")}, free=True),
    Function("parse_json", {("string",): (_parse_json, "dyn")}, free=True),
)
