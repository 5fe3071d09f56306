"""Schedules in Temporal: what a trigger's configuration is there, and calls about it."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleCalendarSpec,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleRange,
    ScheduleSpec,
    ScheduleState,
    ScheduleUpdate,
)

from schemas.cron import Cron
from schemas.due_times import exact_moments
from schemas.errors import ConflictError, NotFoundError
from schemas.retention import RETENTION
from schemas.schedules import GATE, ScheduleTrigger

Within = Callable[[Awaitable[Any]], Awaitable[Any]]

# Jumps of clocks are told to Temporal this far ahead; the schedule is written again before that.
JUMPS_AHEAD = timedelta(days=400)
WRITTEN_AGAIN_AFTER = timedelta(days=30)
# An interval counts from the epoch: one as long as the time since then is due at the moment itself,
# and again in half a century, when the schedule has been written anew many times.
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# A gate that cannot reach the database is of no use once its due time is past catching up.
_GATE_GRACE = timedelta(hours=1)
_PAGE = 200
_PRUNED_EVERY = timedelta(hours=1)
# Not with everything else on the hour.
_PRUNED_AT = timedelta(minutes=17)


def schedule_id(workspace: str, definition: str, trigger_id: str) -> str:
    """Give the id of a trigger's schedule in Temporal."""
    return f"{schedule_prefix(workspace)}{definition}/{trigger_id}"


def schedule_prefix(workspace: str) -> str:
    """Give what the ids of all schedules of a workspace begin with."""
    return f"sojourn/{workspace}/"


def spec_of(config: ScheduleTrigger, moment: datetime) -> ScheduleSpec:
    """Translate when a trigger is due; `moment` is the present.

    The calendars are built here: Temporal's own cron knows no "either day field matches".
    """
    calendars: list[ScheduleCalendarSpec] = []
    intervals: list[ScheduleIntervalSpec] = []
    if config.every is not None:
        intervals.append(ScheduleIntervalSpec(every=config.every, offset=config.offset))
    if config.cron is not None:
        calendars += _calendars(config.cron_of)
    intervals += [
        ScheduleIntervalSpec(every=exact - _EPOCH)
        for exact in exact_moments(config, moment - timedelta(days=1), moment + JUMPS_AHEAD)
    ]
    return ScheduleSpec(
        calendars=calendars,
        intervals=intervals,
        start_at=config.start_at,
        end_at=config.end_at,
        jitter=config.jitter or None,
        time_zone_name=config.timezone,
    )


def _calendars(cron: Cron) -> list[ScheduleCalendarSpec]:
    minute, hour, month = _ranges(cron.minutes), _ranges(cron.hours), _ranges(cron.months)
    days, weekdays = _ranges(cron.days), _ranges(cron.weekdays)
    if not cron.either:
        return [
            ScheduleCalendarSpec(
                minute=minute, hour=hour, month=month, day_of_month=days, day_of_week=weekdays
            )
        ]
    return [
        ScheduleCalendarSpec(minute=minute, hour=hour, month=month, day_of_month=days),
        ScheduleCalendarSpec(minute=minute, hour=hour, month=month, day_of_week=weekdays),
    ]


def _ranges(values: Sequence[int]) -> list[ScheduleRange]:
    """Write numbers in order as the fewest ranges of step one."""
    found: list[ScheduleRange] = []
    start = last = values[0]
    for value in (*values[1:], None):
        if value is None or value != last + 1:
            found.append(ScheduleRange(start, last))
            start = value if value is not None else start
        last = value if value is not None else last
    return found


def retention_id(workspace: str) -> str:
    """Give the id of the schedule that prunes a workspace."""
    return f"{schedule_prefix(workspace)}retention"


def retention_schedule(workspace: str, task_queue: str) -> Schedule:
    """Give the schedule that prunes a workspace once an hour, never twice at a time."""
    return Schedule(
        action=ScheduleActionStartWorkflow(
            RETENTION,
            args=[workspace],
            id=retention_id(workspace),
            task_queue=task_queue,
            execution_timeout=_PRUNED_EVERY,
            static_summary="prunes old rows",
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=_PRUNED_EVERY, offset=_PRUNED_AT)]),
        policy=SchedulePolicy(
            overlap=ScheduleOverlapPolicy.SKIP, catchup_window=timedelta(minutes=10)
        ),
    )


class Schedules:
    """Writes and reads schedules; every call has the gateway's deadline and errors."""

    def __init__(self, client: Client, task_queue: str, within: Within) -> None:
        """Speak through `client`; what schedules start runs on `task_queue`."""
        self._client = client
        self.task_queue = task_queue
        self._within = within

    async def put_trigger(
        self,
        workspace: str,
        definition: str,
        trigger_id: str,
        config: ScheduleTrigger,
        moment: datetime,
        *,
        resting: bool,
    ) -> None:
        """Create or replace a trigger's schedule, paused if it is `resting`.

        Raises UnavailableError, SojournError.

        Gates never hold up one another: overlap is a matter of the runs that they order.
        """
        identity = schedule_id(workspace, definition, trigger_id)
        await self.put(
            identity,
            Schedule(
                action=ScheduleActionStartWorkflow(
                    GATE,
                    args=[workspace, trigger_id],
                    id=identity,
                    task_queue=self.task_queue,
                    execution_timeout=config.catchup + config.jitter + _GATE_GRACE,
                    static_summary=f"orders a run of {definition}",
                ),
                spec=spec_of(config, moment),
                policy=SchedulePolicy(
                    overlap=ScheduleOverlapPolicy.ALLOW_ALL, catchup_window=config.catchup
                ),
                state=ScheduleState(paused=resting),
            ),
        )

    async def put(self, identity: str, schedule: Schedule) -> None:
        """Create or replace a schedule; raises UnavailableError, SojournError."""
        try:
            await self._within(self._client.create_schedule(identity, schedule))
        except ScheduleAlreadyRunningError:
            handle = self._client.get_schedule_handle(identity)
            await self._within(handle.update(lambda _: ScheduleUpdate(schedule=schedule)))

    async def delete(self, identity: str) -> None:
        """Delete a schedule, if it is there; raises UnavailableError."""
        with suppress(NotFoundError, ConflictError):
            await self._within(self._client.get_schedule_handle(identity).delete())

    async def identities(self, workspace: str) -> set[str]:
        """Give the ids of a workspace's schedules, of triggers and others.

        The newest may be missing: Temporal's visibility lags. Raises UnavailableError.
        """
        prefix = schedule_prefix(workspace)
        listing = await self._within(self._client.list_schedules(page_size=_PAGE))
        found: set[str] = set()
        while True:
            await self._within(listing.fetch_next_page())
            found.update(
                each.id for each in listing.current_page or () if each.id.startswith(prefix)
            )
            if not listing.next_page_token:
                return found
