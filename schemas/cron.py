"""Cron expressions of five fields: minute, hour, day of the month, month, day of the week."""

import calendar
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache

_MONTHS = {
    name: number + 1
    for number, name in enumerate(
        ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
    )
}
_WEEKDAYS = {
    name: number for number, name in enumerate(("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"))
}
_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@hourly": "0 * * * *",
}
# A leap year: the 29th of February is a date.
_DAYS_OF_MONTH = [calendar.monthrange(2024, month)[1] for month in range(1, 13)]
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Cron:
    """A parsed expression: the values of each field in order; 0 is Sunday.

    `either` is cron's old rule for two restricted day fields (neither begins with `*`): a date
    matches when one of them does. Otherwise both must. Source: crontab(5) of Vixie cron.
    """

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]
    either: bool

    def on(self, day: date) -> bool:
        """Tell if the date matches the three date fields."""
        if day.month not in self.months:
            return False
        by_day = day.day in self.days
        by_weekday = day.isoweekday() % 7 in self.weekdays
        return by_day or by_weekday if self.either else by_day and by_weekday

    def matches(self, wall: datetime) -> bool:
        """Tell if a time of a wall clock (naive) is one of the expression's."""
        return (
            self.on(wall.date())
            and wall.hour in self.hours
            and wall.minute in self.minutes
            and wall.second == 0
        )

    def between(self, begin: datetime, end: datetime) -> Iterator[datetime]:
        """Give the matching times in [begin, end) of a wall clock (naive), in order."""
        day = begin.date()
        while datetime.combine(day, time()) < end:
            if day.month not in self.months:
                day = _next_month(day)
                continue
            if self.on(day):
                for hour in self.hours:
                    for minute in self.minutes:
                        wall = datetime.combine(day, time(hour, minute))
                        if begin <= wall < end:
                            yield wall
            if day == date.max:
                return
            day += _DAY


def _next_month(day: date) -> date:
    return (day.replace(day=1) + 32 * _DAY).replace(day=1)


@lru_cache(maxsize=1024)
def parse_cron(text: str) -> Cron:
    """Read `*/15 9-17 * * MON-FRI`, or `@daily` and its like; raises ValueError that says what.

    Names of months and weekdays are English, of three letters; 0 and 7 are Sunday.
    """
    fields = _MACROS.get(text.strip().lower(), text).split()
    if len(fields) != 5:
        raise ValueError(
            f"a cron expression has five fields (minute hour day month weekday), not {len(fields)}"
        )
    minutes, hours = _field(fields[0], "minute", 0, 59), _field(fields[1], "hour", 0, 23)
    days = _field(fields[2], "day", 1, 31)
    months = _field(fields[3], "month", 1, 12, _MONTHS)
    weekdays = tuple(sorted({day % 7 for day in _field(fields[4], "weekday", 0, 7, _WEEKDAYS)}))
    either = not fields[2].startswith(("*", "?")) and not fields[4].startswith(("*", "?"))
    if not either and not any(min(days) <= _DAYS_OF_MONTH[month - 1] for month in months):
        raise ValueError(f"no month of the cron expression has a day {min(days)}")
    return Cron(minutes, hours, days, months, weekdays, either)


def _field(
    text: str, name: str, low: int, high: int, names: dict[str, int] | None = None
) -> tuple[int, ...]:
    found: set[int] = set()
    for part in text.split(","):
        found.update(_part(part, name, low, high, names or {}))
    return tuple(sorted(found))


def _part(text: str, name: str, low: int, high: int, names: dict[str, int]) -> range:
    span, slash, step_text = text.partition("/")
    step = 1
    if slash:
        if not (step_text.isascii() and step_text.isdigit() and 0 < len(step_text) < 4):
            raise ValueError(f"{text!r} in the cron's {name} has no step after '/'")
        step = int(step_text)
        if step == 0:
            raise ValueError(f"the step in {text!r} of the cron's {name} must be 1 or more")
    if span in ("*", "?"):
        # Sunday is 0 here; 7 is another way to write it.
        return range(low, (6 if name == "weekday" else high) + 1, step)
    first, dash, last = span.partition("-")
    begin = _number(first, name, low, high, names)
    # `5/15` means from 5 on, as `5-59/15`.
    end = _number(last, name, low, high, names) if dash else high if slash else begin
    if end < begin:
        raise ValueError(f"{span!r} in the cron's {name} runs backwards")
    return range(begin, end + 1, step)


def _number(text: str, name: str, low: int, high: int, names: dict[str, int]) -> int:
    value = names.get(text.upper())
    if value is None:
        if not (text.isascii() and text.isdigit() and len(text) <= 2):
            raise ValueError(f"{text[:20]!r} is not a {name} of a cron expression")
        value = int(text)
    if not low <= value <= high:
        raise ValueError(f"the cron's {name} must be {low} to {high}, not {value}")
    return value
