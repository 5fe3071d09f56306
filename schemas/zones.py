"""Time zones by their IANA names, from the installed tzdata, and the jumps of their wall clocks.

Never from the machine's own zones: two workers, or a replay, must find the same answer.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib import resources
from typing import Final
from zoneinfo import ZoneInfo

from schemas.errors import ExpressionError

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_+-]{0,31}(?:/[A-Za-z0-9_+-]{1,31}){0,2}")
# Two jumps of one zone are always further apart.
_STRIDE: Final = timedelta(hours=3)
_SECOND: Final = timedelta(seconds=1)
_DAY: Final = timedelta(days=1)


@lru_cache(maxsize=64)
def load_zone(name: str) -> ZoneInfo:
    """Load a zone such as `Europe/Berlin`; raises ExpressionError when tzdata has none of it."""
    if _NAME.fullmatch(name) is not None:
        file = resources.files("tzdata").joinpath("zoneinfo", *name.split("/"))
        if file.is_file():
            with file.open("rb") as data:
                try:
                    return ZoneInfo.from_file(data, key=name)
                except ValueError:
                    raise _no_zone(name) from None
    raise _no_zone(name)


def _no_zone(name: str) -> ExpressionError:
    return ExpressionError(
        f"unknown time zone {name[:60]!r}", hint="write it as Europe/Berlin or +02:00"
    )


def offset_at(zone: ZoneInfo, moment: datetime) -> timedelta:
    """Give what the wall clock of a zone is ahead of UTC at a moment."""
    offset = moment.astimezone(zone).utcoffset()
    assert offset is not None, "a zone always has an offset"
    return offset


def segments(
    zone: ZoneInfo, begin: datetime, end: datetime
) -> Iterator[tuple[datetime, datetime, timedelta]]:
    """Cut [begin, end) at the jumps of a zone's clock: `(from, to, offset)`, all in UTC.

    `zoneinfo` tells no jumps, so they are found by bisection, exact to the second.
    """
    start = here = begin.astimezone(UTC)
    last = end.astimezone(UTC)
    offset = offset_at(zone, here)
    while here < last:
        ahead = min(here + _STRIDE, last)
        if offset_at(zone, ahead) != offset:
            ahead = _jump(zone, here, ahead, offset)
            yield start, ahead, offset
            start, offset = ahead, offset_at(zone, ahead)
        here = ahead
    if start < last:
        yield start, last, offset


def _jump(zone: ZoneInfo, before: datetime, after: datetime, offset: timedelta) -> datetime:
    """Find the first whole second in (before, after] at which the offset is another."""
    low, high = before.replace(microsecond=0), after
    while high - low > _SECOND:
        middle = (low + (high - low) / 2).replace(microsecond=0)
        if offset_at(zone, middle) == offset:
            low = middle
        else:
            high = middle
    return high.replace(microsecond=0)


def moment_of(wall: datetime, zone: ZoneInfo) -> datetime:
    """Give the first moment at which a zone's wall clock shows `wall` (naive) or more, in UTC.

    A time that the clock skips is the moment of the jump; one that it shows twice is the first.
    """
    around = wall.replace(tzinfo=UTC)
    for begin, end, offset in segments(zone, around - 2 * _DAY, around + 2 * _DAY):
        moment = max(begin, around - offset)
        if moment < end:
            return moment
    raise AssertionError("no zone is two days ahead of another")
