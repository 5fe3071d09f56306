"""When a schedule is due: pure functions of its configuration and a moment."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice

from schemas.schedules import ScheduleTrigger
from schemas.zones import segments

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# No jump of a clock is longer than a day; the one before the first moment must be seen.
_BEFORE = timedelta(days=2)
_AROUND = timedelta(hours=3)
# A 29th of February that is a Monday comes after 40 years at most.
_HORIZON = timedelta(days=41 * 366)

JUMP = "the clock jumps here, past a local time that was due"
TWICE = "this local time comes twice; the first one counts"


@dataclass(frozen=True, slots=True)
class Due:
    """One due time in UTC, its wall clock (aware), and what summer time does to it."""

    time: datetime
    local: datetime
    note: str | None = None


def next_due(config: ScheduleTrigger, after: datetime) -> datetime | None:
    """Give the first due time later than `after`; None if there is none."""
    found = next(due_times(config, after), None)
    return None if found is None else found.time


def first_due(config: ScheduleTrigger, after: datetime, count: int) -> list[Due]:
    """Give the first `count` due times later than `after`."""
    return list(islice(due_times(config, after), count))


def due_times(
    config: ScheduleTrigger, after: datetime, until: datetime | None = None
) -> Iterator[Due]:
    """Give the due times in (after, until], in order; pauses and jitter do not show here."""
    begin = after.astimezone(UTC)
    if config.start_at is not None:
        begin = max(begin, config.start_at.astimezone(UTC) - timedelta(microseconds=1))
    end = begin + _HORIZON
    for limit in (until, config.end_at):
        if limit is not None:
            end = min(end, limit.astimezone(UTC))
    found = _intervals(config, begin) if config.every is not None else _walls(config, begin, end)
    for due in found:
        if due.time > end:
            return
        if due.time > begin:
            yield due


def _intervals(config: ScheduleTrigger, begin: datetime) -> Iterator[Due]:
    assert config.every is not None, "only intervals come here"
    start = _EPOCH + config.offset
    number = (begin - start) // config.every
    while True:
        moment = start + number * config.every
        yield Due(moment, moment.astimezone(config.zone))
        number += 1


def _walls(config: ScheduleTrigger, begin: datetime, end: datetime) -> Iterator[Due]:
    """Give each wall-clock time once: of two showings the first, and by `dst` those in a gap."""
    cron, zone = config.cron_of, config.zone
    shown_until: datetime | None = None  # the wall clock at the end of the stretch before
    for start, stop, offset in segments(zone, begin - _BEFORE, end + _BEFORE):
        opens, closes = (start + offset).replace(tzinfo=None), (stop + offset).replace(tzinfo=None)
        jumped = shown_until is not None and shown_until < opens
        if jumped and config.dst == "once":
            assert shown_until is not None, "a jump has a stretch before it"
            if next(cron.between(shown_until, opens), None) is not None:
                yield Due(start, start.astimezone(zone), JUMP)
                # What is due at the moment of the jump itself is the same run.
                opens += timedelta(minutes=1)
        for wall in cron.between(max(opens, shown_until or opens), closes):
            moment = wall.replace(tzinfo=UTC) - offset
            yield Due(moment, moment.astimezone(zone), _twice(moment, config))
        shown_until = max(closes, shown_until or closes)


def _twice(moment: datetime, config: ScheduleTrigger) -> str | None:
    local = moment.astimezone(config.zone)
    return TWICE if local.utcoffset() != local.replace(fold=1).utcoffset() else None


def exact_moments(config: ScheduleTrigger, after: datetime, until: datetime) -> list[datetime]:
    """Give the due times (UTC) in (after, until) that a calendar in the zone does not tell.

    These are the jumps at which `dst: once` is due, and the first showings of local times that
    come twice: of those Temporal takes, by the zone's side of Greenwich, the first or the second.
    """
    if config.cron is None:
        return []
    found: list[datetime] = []
    for before, start, offset in _jumps(config, after, until):
        old, new = ((start + each).replace(tzinfo=None) for each in (before, offset))
        walls = list(config.cron_of.between(min(old, new), max(old, new)))
        if not walls or not after < start < until:
            continue
        if old > new:
            found += [wall.replace(tzinfo=UTC) - before for wall in walls]
        elif config.dst == "once":
            found.append(start)
    return found


def is_due(config: ScheduleTrigger, moment: datetime) -> bool:
    """Tell if Temporal is right that a schedule is due, where it may be wrong.

    In the hours around a jump of half an hour (Lord Howe) it also fires at times that no calendar
    names. At any other time it is believed: people may fire a schedule in its own tools.
    """
    if config.cron is None:
        return True
    begin, end = moment - _AROUND, moment + _AROUND
    if len(list(segments(config.zone, begin, end))) == 1:
        return True
    wall = moment.astimezone(config.zone).replace(tzinfo=None)
    return config.cron_of.matches(wall) or moment in exact_moments(config, begin, end)


def skipped_walls(config: ScheduleTrigger, after: datetime, until: datetime) -> list[datetime]:
    """Give the wall-clock times (naive) in (after, until) that `dst: skip` leaves out."""
    if config.cron is None or config.dst == "once":
        return []
    found: list[datetime] = []
    for before, start, offset in _jumps(config, after, until):
        if after < start < until:
            opens, closes = ((start + each).replace(tzinfo=None) for each in (before, offset))
            found += config.cron_of.between(opens, closes)
    return found


def _jumps(
    config: ScheduleTrigger, after: datetime, until: datetime
) -> Iterator[tuple[timedelta, datetime, timedelta]]:
    """Give the jumps of the zone's clock: the offset before, the moment (UTC), the one after."""
    before: timedelta | None = None
    for start, _, offset in segments(config.zone, after - _BEFORE, until):
        if before is not None:
            yield before, start, offset
        before = offset
