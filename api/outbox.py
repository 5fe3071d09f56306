"""What a published event leaves to be done: runs to be told, and runs to be started.

Both lie in the database with the event. Who publishes does them at once; what was left undone, by
a crash or while Temporal was away, a loop in the API process does within about a second.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import structlog

from api.looping import loop
from api.starting import Starter
from db import events, runs
from db.ordering import take_due
from schemas.errors import ConflictError, NotFoundError, SojournError, UnavailableError
from schemas.run import ErrorInfo, RunStatus

EVERY = 1.0
BATCH = 200
CONCURRENCY = 16
_log = structlog.get_logger(__name__)
T = TypeVar("T")


class Outbox:
    """Delivers events and starts the runs that they ordered; doing either twice is harmless."""

    def __init__(self, starter: Starter) -> None:
        """Work with the starter's database and gateway."""
        self._starter = starter
        self._database = starter.database
        self._gateway = starter.gateway

    async def forward(self, published: events.Published) -> None:
        """Do at once what an event has left to be done; what fails is due later."""
        try:
            await self.deliver(published.deliveries)
            await self.start(published.run_ids)
        except SojournError as error:
            _log.warning("forward_later", event_id=published.id, code=error.code)

    async def once(self) -> int:
        """Make one pass over what is due; gives how many deliveries and starts it has done.

        Raises UnavailableError when Temporal or PostgreSQL is away.
        """
        done = 0
        while True:
            async with self._database.session() as session:
                due = await events.claim_due(session, limit=BATCH)
                ordered = await take_due(session, self._starter.config.workspace, limit=BATCH)
            done += await self.deliver(due) + await self.start(ordered)
            if len(due) < BATCH and len(ordered) < BATCH:
                return done

    async def deliver(self, deliveries: Sequence[events.Delivery]) -> int:
        """Signal events to their runs, and note it; a run that has ended counts as told."""
        told: list[events.Delivery] = []
        ended: list[str] = []

        async def one(delivery: events.Delivery) -> None:
            try:
                await self._gateway.deliver(delivery.workflow_id, delivery.event)
            except (ConflictError, NotFoundError):
                ended.append(delivery.run_id)
            told.append(delivery)

        try:
            await _each(deliveries, one)
        finally:
            if told:
                async with self._database.session() as session:
                    await events.mark_delivered(session, told)
                    for run_id in ended:
                        await events.close_run(session, run_id)
        return len(told)

    async def start(self, run_ids: Sequence[str]) -> int:
        """Start the runs that triggers have ordered; one that cannot start becomes failed."""
        started: list[str] = []

        async def one(run_id: str) -> None:
            try:
                await self._starter.mark(await self._starter.start_ordered(run_id))
            except UnavailableError:
                raise
            except SojournError as error:
                await self._give_up(run_id, error)
            started.append(run_id)

        await _each(run_ids, one)
        return len(started)

    async def _give_up(self, run_id: str, error: SojournError) -> None:
        _log.error("ordered_run_failed", run_id=run_id, code=error.code, error=error.message)
        info = ErrorInfo(code=error.code, message=error.message)
        workspace = self._starter.config.workspace
        async with self._database.session() as session:
            await runs.close(session, workspace, run_id, RunStatus.FAILED, error=info)


async def _each(items: Sequence[T], work: Callable[[T], Awaitable[None]]) -> None:
    """Do the work for each item, `CONCURRENCY` at once; the first that is away ends it."""
    queue = iter(items)

    async def worker() -> None:
        for item in queue:
            await work(item)

    workers = [asyncio.create_task(worker()) for _ in range(min(CONCURRENCY, len(items)))]
    try:
        await asyncio.gather(*workers)
    except BaseException:
        for one in workers:
            one.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        raise


async def run_outbox(outbox: Outbox, *, every: float = EVERY) -> None:
    """Make a pass every `every` seconds until cancelled; what is away is tried again next time."""
    await loop(outbox.once, every=every, failed="outbox_failed")
