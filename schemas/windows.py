"""When the window of a delay opens: pure functions of a moment and a zone."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from schemas.errors import ExpressionError
from schemas.steps_wait import DAYS, Window
from schemas.zones import load_zone, segments

_DAY: Final = timedelta(days=1)
# A window inside the hour that a clock skips may miss one of its weeks, and Samoa once skipped a
# whole day; three weeks always hold one that opens.
_HORIZON: Final = 22 * _DAY


def next_open(window: Window, zone_name: str, moment: datetime) -> datetime:
    """Give the first moment from `moment` on (aware) at which the window is open, in UTC.

    The window is open whenever the wall clock of the zone shows one of its times: where the clock
    skips the opening it opens with the jump, and an hour that comes twice counts twice. Raises
    ExpressionError for an unknown zone, and for a window that never opens.
    """
    begin = moment.astimezone(UTC)
    for start, end, offset in segments(load_zone(zone_name), begin, begin + _HORIZON):
        opening = _next_wall(window, (start + offset).replace(tzinfo=None))
        found = opening.replace(tzinfo=UTC) - offset
        if found < end:
            return found
    raise ExpressionError("the window never opens")


def _next_wall(window: Window, wall: datetime) -> datetime:
    """Give the first time from `wall` on inside the window, on a clock that never jumps."""
    opens, closes = _span(window)
    for number in range(-1, 9):
        day = wall.date() + number * _DAY
        if DAYS[day.weekday()] not in window.days:
            continue
        if wall < _midnight(day) + closes:
            return max(wall, _midnight(day) + opens)
    raise AssertionError("a window has a day in every week")


def _span(window: Window) -> tuple[timedelta, timedelta]:
    """Give opening and closing as distances from the midnight that begins the window's day."""
    opens, closes = _distance(window.from_), _distance(window.to)
    return opens, closes if closes > opens else closes + _DAY


def _distance(clock: str) -> timedelta:
    hours, minutes = clock.split(":")
    return timedelta(hours=int(hours), minutes=int(minutes))


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time())


def describe(window: Window, zone_name: str) -> str:
    """Say a window in words: `mon-fri 09:00-17:00 Europe/Berlin`."""
    places = [index for index, day in enumerate(DAYS) if day in window.days]
    whole = len(places) > 2 and places[-1] - places[0] == len(places) - 1
    days = f"{DAYS[places[0]]}-{DAYS[places[-1]]}" if whole else ",".join(DAYS[i] for i in places)
    return f"{days} {window.from_}-{window.to} {zone_name}"
