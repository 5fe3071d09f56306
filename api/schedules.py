"""Keeps Temporal's schedules as the triggers say: the rows are the truth, Temporal is told.

A trigger is changed in the database alone, also while Temporal is away; one API process at a time
tells Temporal what changed, within about a second, and looks now and then for what it has lost.
"""

import time
from datetime import timedelta

import structlog

from api.looping import loop
from api.tenants import Tenants
from db import schedule_table, schedules, triggers
from db.base import now
from db.engine import Database
from db.locks import try_lock
from db.trigger_table import Trigger
from schemas.errors import SojournError, UnavailableError
from workflows.gateway import Gateway
from workflows.scheduling import (
    WRITTEN_AGAIN_AFTER,
    retention_id,
    retention_schedule,
    schedule_id,
)

EVERY = 1.0
# How often all of Temporal's schedules are compared with the rows.
COMPARE_EVERY = timedelta(seconds=60)
_log = structlog.get_logger(__name__)


class Scheduler:
    """Tells Temporal of the schedules of one workspace; any pass may be made again."""

    def __init__(
        self,
        database: Database,
        gateway: Gateway,
        workspace: str,
        *,
        compare_every: timedelta = COMPARE_EVERY,
    ) -> None:
        """Keep the schedules of `workspace`."""
        self._database = database
        self._schedules = gateway.schedules
        self._workspace = workspace
        self._compare_every = compare_every.total_seconds()
        self._compared_at: float | None = None

    async def once(self) -> int:
        """Make one pass, if no other process does; gives how many schedules were changed.

        Raises UnavailableError when Temporal or PostgreSQL is away.
        """
        async with self._database.session() as guard:
            if not await try_lock(guard, f"schedules/{self._workspace}"):
                return 0
            async with self._database.session() as session:
                await schedules.order_buffered(session, self._workspace)
            changed = await self._write() + await self._forget()
            if self._compared_at is None or (
                time.monotonic() - self._compared_at >= self._compare_every
            ):
                await self._compare()
                self._compared_at = time.monotonic()
            return changed

    async def _write(self) -> int:
        async with self._database.session() as session:
            found = await schedule_table.unwritten(
                session, self._workspace, again_after=WRITTEN_AGAIN_AFTER
            )
        for trigger in found:
            await self._write_one(trigger)
        return len(found)

    async def _write_one(self, trigger: Trigger) -> None:
        fault: SojournError | None = None
        try:
            config = schedules.config_of(trigger)
            await self._schedules.put_trigger(
                trigger.workspace,
                trigger.definition,
                trigger.id,
                config,
                now(),
                resting=schedules.is_resting(config),
            )
        except UnavailableError:
            raise
        except SojournError as error:
            # Asking again would give the same: it waits until the trigger is changed.
            _log.error("schedule_refused", trigger_id=trigger.id, error=error.message)
            fault = error
        async with self._database.session() as session:
            await schedule_table.note_written(session, trigger)
            if fault is not None:
                await triggers.note(session, trigger, f"{fault.code}: {fault.message}"[:1000])

    async def _forget(self) -> int:
        async with self._database.session() as session:
            gone = await schedule_table.orphans(session, self._workspace)
        for state in gone:
            identity = schedule_id(state.workspace, state.definition, state.trigger_id)
            await self._schedules.delete(identity)
            async with self._database.session() as session:
                await schedule_table.forget(session, state.trigger_id)
        return len(gone)

    async def _compare(self) -> None:
        """Find what Temporal has lost (it is written again), and what it has without a trigger.

        Temporal is asked first: a trigger that was added since counts as lost, which is harmless.
        """
        there = await self._schedules.identities(self._workspace)
        if retention_id(self._workspace) not in there:
            await self._schedules.put(
                retention_id(self._workspace),
                retention_schedule(self._workspace, self._schedules.task_queue),
            )
        async with self._database.session() as session:
            wanted = {
                schedule_id(self._workspace, definition, trigger_id): trigger_id
                for definition, trigger_id in await schedule_table.triggers_with_schedule(
                    session, self._workspace
                )
            }
            lost = [wanted[identity] for identity in wanted.keys() - there]
            await schedule_table.write_again(session, lost)
        for identity in there - wanted.keys() - {retention_id(self._workspace)}:
            _log.warning("schedule_without_trigger", schedule_id=identity)
            await self._schedules.delete(identity)


async def run_scheduler(
    database: Database, gateway: Gateway, tenants: Tenants, *, every: float = EVERY
) -> None:
    """Make a pass over all workspaces every `every` seconds until cancelled.

    What is away is tried again next time.
    """
    schedulers: dict[str, Scheduler] = {}

    async def one(workspace: str) -> None:
        if workspace not in schedulers:
            schedulers[workspace] = Scheduler(database, gateway, workspace)
        await schedulers[workspace].once()

    await loop(lambda: tenants.each(one), every=every, failed="schedules_failed")
