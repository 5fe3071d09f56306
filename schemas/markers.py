"""Markers: `{{ secrets.NAME }}` renders to one, never to a value.

A marker stays in history, in the record and in logs; only a worker turns it into the value, just
before the action runs. It begins and ends with a Unicode noncharacter, which no text that a run
has read may hold: whatever else is rendered is refused if it does, so that nobody can forge one.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from schemas.errors import ExpressionError

# U+FDD0, reserved for internal use: it has no meaning in text that is interchanged.
DELIMITER: Final = "\ufdd0"
_NESTED = (dict, list)
_NAME = r"[A-Za-z][A-Za-z0-9_]{0,62}"
_EXPRESSION = re.compile(rf"secrets\.({_NAME})")
_MARKER = re.compile(rf"{DELIMITER}secrets\.({_NAME}){DELIMITER}")


def secret_named(source: str) -> str | None:
    """Give NAME if an expression is nothing but `secrets.NAME`."""
    found = _EXPRESSION.fullmatch(source) if source.startswith("secrets") else None
    return found[1] if found else None


def marker(name: str) -> str:
    """Give the marker of a secret."""
    return f"{DELIMITER}secrets.{name}{DELIMITER}"


def refuse_markers(text: str) -> str:
    """Give back a text that was rendered; raises ExpressionError if it holds the delimiter."""
    if DELIMITER in text:
        raise ExpressionError(
            "a rendered text holds U+FDD0, which stands for secrets and nothing else",
            hint="remove the character from the input, the event or the answer that it came from",
        )
    return text


def holds_markers(value: Any) -> bool:
    """Tell whether any text inside JSON data holds the delimiter.

    Every attempt of every action asks it, so that it is written for speed.
    """
    if isinstance(value, str):
        return DELIMITER in value
    if isinstance(value, dict):
        return _any_holds(value) or _any_holds(value.values())
    return isinstance(value, list) and _any_holds(value)


def _any_holds(values: Iterable[Any]) -> bool:
    for one in values:
        if isinstance(one, str):
            if DELIMITER in one:
                return True
        elif isinstance(one, _NESTED) and holds_markers(one):
            return True
    return False


def names_in(value: Any) -> Iterator[str]:
    """Give the names of the secrets whose markers a value holds; some more than once."""
    if isinstance(value, str):
        if DELIMITER in value:
            yield from _MARKER.findall(value)
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from names_in(key)
            yield from names_in(one)
    elif isinstance(value, list):
        for one in value:
            yield from names_in(one)


def marked_places(value: Any, path: str = "") -> Iterator[str]:
    """Give the path of every text inside raw data that holds the delimiter."""
    if isinstance(value, str):
        if DELIMITER in value:
            yield path
    elif isinstance(value, Mapping):
        for key, one in value.items():
            if DELIMITER in str(key):
                yield path
            yield from marked_places(one, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from marked_places(one, f"{path}[{index}]")


def resolved(value: Any, secrets: Mapping[str, str]) -> Any:
    """Copy of a value with the markers replaced; raises KeyError for a name that is not there."""
    if isinstance(value, str):
        if DELIMITER not in value:
            return value
        return _MARKER.sub(lambda found: secrets[found[1]], value)
    if isinstance(value, Mapping):
        return {resolved(key, secrets): resolved(one, secrets) for key, one in value.items()}
    if isinstance(value, list):
        return [resolved(one, secrets) for one in value]
    return value


def disarmed(value: Any) -> Any:
    """Copy of data from outside in which nothing is a marker: U+FFFD stands for the delimiter."""
    if isinstance(value, str):
        return value.replace(DELIMITER, "\ufffd")
    if isinstance(value, Mapping):
        return {disarmed(key): disarmed(one) for key, one in value.items()}
    if isinstance(value, list):
        return [disarmed(one) for one in value]
    return value
