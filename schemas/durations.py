"""Durations as people write them: `3d4h`, `90m`, `500ms`."""

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_UNITS = {
    "w": 604_800_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1_000,
    "ms": 1,
}
_PART = re.compile(r"(\d+)(ms|[wdhms])")
DURATION_PATTERN = r"^(\d+(ms|[wdhms]))+$"
MAX_DURATION = timedelta(days=3650)


def parse_duration(text: str) -> timedelta:
    """Read `3d4h` into a timedelta; units are w d h m s ms, each once, largest first.

    Raises ValueError for anything else, and above ten years.
    """
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is not a duration; write for example '3d', '4h30m' or '500ms'")
    units = [unit for _, unit in parts]
    order = [unit for unit in _UNITS if unit in units]
    if units != order:
        raise ValueError(f"{text!r} must name each unit once, largest first: {' '.join(_UNITS)}")
    # A cap on digits first: a thousand-digit number must not reach integer arithmetic.
    if any(len(number) > 15 for number, _ in parts):
        raise ValueError(f"{text!r} is longer than ten years")
    milliseconds = sum(int(number) * _UNITS[unit] for number, unit in parts)
    if milliseconds > MAX_DURATION / timedelta(milliseconds=1):
        raise ValueError(f"{text!r} is longer than ten years")
    return timedelta(milliseconds=milliseconds)


def format_duration(value: timedelta) -> str:
    """Write a timedelta as `3d4h`; fractions below a millisecond are dropped."""
    rest = max(0, int(value / timedelta(milliseconds=1)))
    parts: list[str] = []
    for unit, size in _UNITS.items():
        if unit == "w":
            continue
        number, rest = divmod(rest, size)
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts) or "0s"


def _validate(value: Any) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise ValueError("a duration is a text such as '3d', '4h30m' or '500ms'")
    return parse_duration(value)


Duration = Annotated[
    timedelta,
    BeforeValidator(_validate),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN, "examples": ["3d", "4h30m"]}),
]
