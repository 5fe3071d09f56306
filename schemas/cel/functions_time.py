"""Timestamps and durations: parsing, parts in a time zone, and texts. Microseconds are kept."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from schemas.cel.budget import Evaluation
from schemas.cel.registry import Function
from schemas.errors import ExpressionError
from schemas.zones import load_zone, moment_of

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_RFC3339: Final = re.compile(
    r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})[Tt]([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})"
    r"(?:\.([0-9]{1,30}))?(?:[Zz]|([+-])([0-9]{2}):?([0-9]{2}))"
)
_DURATION_PART: Final = re.compile(r"([0-9]{0,20})(\.[0-9]{0,20})?(ns|us|ms|s|m|h)")
_OFFSET: Final = re.compile(r"([+-]?)([0-9]{1,2}):([0-9]{1,2})")
_WALL: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2}))?"
)
_NANOSECONDS: Final = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_MOST: Final = timedelta(hours=87_660_000)
_MICROSECOND: Final = timedelta(microseconds=1)


def _timestamp(evaluation: Evaluation, text: str) -> datetime:
    evaluation.charge(8)
    match = _RFC3339.fullmatch(text.strip()) if len(text) <= 80 else None
    if match is None:
        raise ExpressionError(
            "the string is not a timestamp", hint="write it as 2026-01-31T09:00:00Z"
        )
    fraction = ((match[7] or "") + "000000")[:6]
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    leap = second == 60
    offset = timedelta(0)
    if match[8]:
        hours, minutes = int(match[9]), int(match[10])
        if hours > 23 or minutes > 59:
            raise ExpressionError("the timestamp's offset is out of range")
        offset = timedelta(hours=hours, minutes=minutes) * (-1 if match[8] == "-" else 1)
    try:
        moment = datetime(
            year,
            month,
            day,
            hour,
            minute,
            59 if leap else second,
            0 if leap else int(fraction),
            UTC,
        )
        return moment - offset + timedelta(seconds=1 if leap else 0)
    except (ValueError, OverflowError):
        raise ExpressionError("the timestamp is out of range") from None


def _wall_clock(evaluation: Evaluation, text: str, zone: str) -> datetime:
    """Read a wall clock's time: `2026-03-29T02:30` in `Europe/Berlin`, or at an offset."""
    evaluation.charge(16)
    match = _WALL.fullmatch(text.strip()) if len(text) <= 80 else None
    if match is None:
        raise ExpressionError("the string is not a local time", hint="write it as 2026-01-31T09:00")
    try:
        # Naive on purpose: what a clock on a wall shows.
        year, month, day, hour, minute, second = (int(part or 0) for part in match.groups())
        wall = datetime(year, month, day, hour, minute, second)  # noqa: DTZ001
        offset = _offset(zone)
        if offset is not None:
            return wall.replace(tzinfo=UTC) - offset
        return moment_of(wall, load_zone(zone))
    except (ValueError, OverflowError):
        raise ExpressionError("the timestamp is out of range") from None


def _from_epoch(_: Evaluation, seconds: int) -> datetime:
    try:
        return _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        raise ExpressionError("the timestamp is out of range") from None


def _duration(evaluation: Evaluation, text: str) -> timedelta:
    evaluation.charge(4)
    body = text[1:] if text[:1] in ("+", "-") else text
    if len(text) > 128 or not body:
        raise _no_duration()
    total = position = 0
    while position < len(body) and body != "0":
        match = _DURATION_PART.match(body, position)
        if match is None or not (match[1] or (match[2] or ".") != "."):
            raise _no_duration()
        decimals = (match[2] or ".")[1:]
        unit = _NANOSECONDS[match[3]]
        total += int(match[1] or 0) * unit + int(decimals or 0) * unit // 10 ** len(decimals)
        position = match.end()
    microseconds = total // 1_000
    try:
        value = timedelta(microseconds=-microseconds if text[0] == "-" else microseconds)
    except OverflowError:
        value = None
    if value is None or abs(value) > _MOST:
        raise ExpressionError("the duration is out of range")
    return value


def _no_duration() -> ExpressionError:
    return ExpressionError("the string is not a duration", hint="write it as 1h30m or 90s")


def _offset(zone: str) -> timedelta | None:
    """Read `+02:00`, and UTC by name; None for what must be an IANA name."""
    if zone in ("", "UTC"):
        return timedelta(0)
    match = _OFFSET.fullmatch(zone)
    if match is None:
        return None
    distance = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return -distance if match[1] == "-" else distance


def _local(evaluation: Evaluation, moment: datetime, zone: str) -> datetime:
    """Return the wall clock's reading in a zone, an offset such as `+02:00`, or UTC."""
    evaluation.charge(4)
    offset = _offset(zone)
    try:
        if offset is None:
            return moment.astimezone(load_zone(zone))
        return moment.astimezone(UTC) + offset
    except OverflowError:
        raise ExpressionError("the timestamp is out of range") from None


def _fraction_text(microseconds: int) -> str:
    if microseconds == 0:
        return ""
    if microseconds % 1_000 == 0:
        return f".{microseconds // 1_000:03d}"
    return f".{microseconds:06d}"


def timestamp_text(moment: datetime) -> str:
    """Write a timestamp as RFC 3339 in UTC, with 0, 3 or 6 decimals."""
    utc = moment.astimezone(UTC)
    second = utc.replace(microsecond=0, tzinfo=None).isoformat()
    return f"{second}{_fraction_text(utc.microsecond)}Z"


def duration_text(value: timedelta) -> str:
    """Write a duration in seconds, as `90s` or `-1.500s`."""
    total = abs(value) // _MICROSECOND
    sign = "-" if value < timedelta(0) else ""
    return f"{sign}{total // 1_000_000}{_fraction_text(total % 1_000_000)}s"


def _date(evaluation: Evaluation, moment: datetime, zone: str = "") -> str:
    return _local(evaluation, moment, zone).date().isoformat()


_PARTS: Final[dict[str, Callable[[datetime], int]]] = {
    "getFullYear": lambda moment: moment.year,
    "getMonth": lambda moment: moment.month - 1,
    "getDate": lambda moment: moment.day,
    "getDayOfMonth": lambda moment: moment.day - 1,
    "getDayOfYear": lambda moment: moment.timetuple().tm_yday - 1,
    "getDayOfWeek": lambda moment: moment.isoweekday() % 7,
    "getHours": lambda moment: moment.hour,
    "getMinutes": lambda moment: moment.minute,
    "getSeconds": lambda moment: moment.second,
    "getMilliseconds": lambda moment: moment.microsecond // 1_000,
}


def _toward_zero(value: timedelta, unit: timedelta) -> int:
    whole = abs(value) // unit
    return -whole if value < timedelta(0) else whole


def _milliseconds(value: timedelta) -> int:
    whole = abs(value) // timedelta(milliseconds=1) % 1_000
    return -whole if value < timedelta(0) else whole


_DURATION_PARTS: Final[dict[str, Callable[[timedelta], int]]] = {
    "getHours": lambda value: _toward_zero(value, timedelta(hours=1)),
    "getMinutes": lambda value: _toward_zero(value, timedelta(minutes=1)),
    "getSeconds": lambda value: _toward_zero(value, timedelta(seconds=1)),
    "getMilliseconds": _milliseconds,
}


def _getter(name: str) -> Function:
    part = _PARTS[name]

    def run(evaluation: Evaluation, moment: datetime, zone: str = "") -> int:
        return part(_local(evaluation, moment, zone))

    overloads: dict[tuple[str, ...], tuple[Any, str]] = {
        ("timestamp",): (run, "int"),
        ("timestamp", "string"): (run, "int"),
    }
    of_duration = _DURATION_PARTS.get(name)
    if of_duration is not None:
        overloads[("duration",)] = (lambda _, value: of_duration(value), "int")
    return Function(name, overloads, method=True)


def _spans(name: str, unit: timedelta) -> Function:
    def run(_: Evaluation, count: float) -> timedelta:
        try:
            value = unit * count
        except (OverflowError, ValueError):
            raise ExpressionError("the duration is out of range") from None
        if abs(value) > _MOST:
            raise ExpressionError("the duration is out of range")
        return value

    return Function(name, {("int",): (run, "duration"), ("double",): (run, "duration")}, free=True)


TIME_FUNCTIONS: Final = (
    Function(
        "timestamp",
        {
            ("string",): (_timestamp, "timestamp"),
            ("string", "string"): (_wall_clock, "timestamp"),
            ("int",): (_from_epoch, "timestamp"),
            ("timestamp",): (lambda _, value: value, "timestamp"),
        },
        free=True,
    ),
    Function(
        "duration",
        {
            ("string",): (_duration, "duration"),
            ("duration",): (lambda _, value: value, "duration"),
        },
        free=True,
    ),
    *(_getter(name) for name in _PARTS),
    Function(
        "date",
        {("timestamp",): (_date, "string"), ("timestamp", "string"): (_date, "string")},
        free=True,
    ),
    _spans("days", timedelta(days=1)),
    _spans("hours", timedelta(hours=1)),
    _spans("minutes", timedelta(minutes=1)),
    _spans("seconds", timedelta(seconds=1)),
)
