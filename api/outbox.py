"""What is left to be done after a commit: runs to be told of events, and runs to be started.

Both lie in the database. Who has put them there does them at once; what was left undone, by a
crash, while Temporal was away, or for want of a free slot, a loop in the API process does within
about a second of when it can be done.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import structlog

from api.failpoints import reach
from api.looping import loop
from api.starting import Starter
from api.tenants import Tenants
from db import admission, events, run_quotas, runs
from db.ordering import take_due
from schemas.errors import ConflictError, NotFoundError, SojournError, UnavailableError
from schemas.run import ErrorInfo, RunStatus

EVERY = 1.0
# While starts wait for a slot: soon after one is free.
EVERY_WHILE_WAITING = 0.25
BATCH = 200
CONCURRENCY = 16
_log = structlog.get_logger(__name__)
T = TypeVar("T")


class Outbox:
    """Delivers events and starts ordered runs; doing either twice is harmless."""

    def __init__(self, starter: Starter) -> None:
        """Work with the starter's database and gateway."""
        self._starter = starter
        self._database = starter.database
        self._gateway = starter.gateway
        self._workspace = starter.workspace
        self.waiting = False

    async def forward(self, published: events.Published) -> None:
        """Do at once what an event has left to be done; what fails is due later."""
        try:
            await self.deliver(published.deliveries)
            await self.start(await self.admit(published.run_ids))
        except SojournError as error:
            _log.warning("forward_later", event_id=published.id, code=error.code)

    async def once(self) -> int:
        """Make one pass over what is due; gives how many deliveries and starts it has done.

        Raises UnavailableError when Temporal or PostgreSQL is away.
        """
        self.waiting = False
        if not await self._starter.circuit.closed():
            raise UnavailableError("Temporal is away", retry_after=EVERY)
        done = 0
        while True:
            async with self._database.session() as session:
                due = await events.claim_due(session, limit=BATCH)
                waiting = await admission.waiting_definitions(session, self._workspace)
            for definition in waiting:
                await self._admit(definition)
            async with self._database.session() as session:
                ordered = await take_due(session, self._workspace, limit=BATCH)
            if ordered:
                reach("dispatcher_claim")
            done += await self.deliver(due.deliveries) + await self.start(ordered)
            await self._renew(due.full)
            self.waiting = bool(waiting)
            if len(due.deliveries) < BATCH and len(ordered) < BATCH:
                return done

    async def admit(self, run_ids: Sequence[str]) -> list[str]:
        """Admit what may start of the definitions of these runs; gives those runs that may.

        Others that are admitted with them are due.
        """
        if not run_ids:
            return []
        async with self._database.session() as session:
            names = await runs.definitions_of(session, self._workspace, run_ids)
        admitted = [run_id for name in names for run_id in await self._admit(name)]
        return [run_id for run_id in run_ids if run_id in set(admitted)]

    async def _admit(self, definition: str) -> list[str]:
        caps = self._starter.config.caps
        async with self._database.session() as session:
            found = await admission.admit(session, self._workspace, definition, caps)
        await self._starter.supersede(found.superseded)
        return found.run_ids

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

    async def _renew(self, full: Mapping[str, str]) -> None:
        """Let runs that have continued as new have what their quotas held up."""
        for run_id, workflow_id in full.items():
            found = await self._gateway.describe(workflow_id)
            if found is None:
                continue
            async with self._database.session() as session:
                if await run_quotas.renew(session, run_id, found.run_id):
                    await events.release(session, run_id)

    async def start(self, run_ids: Sequence[str]) -> int:
        """Start runs that were ordered and admitted; one that cannot start becomes failed."""
        started: list[str] = []

        async def one(run_id: str) -> None:
            try:
                reach("dispatcher_start")
                begun = await self._starter.start_ordered(run_id)
                reach("dispatcher_mark")
                await self._starter.mark(begun)
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
        async with self._database.session() as session:
            await runs.close(session, self._workspace, run_id, RunStatus.FAILED, error=info)


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


async def run_outbox(starter: Starter, tenants: Tenants) -> None:
    """Make pass after pass over all workspaces until cancelled; what is away comes next time."""
    waiting = False

    async def once() -> None:
        nonlocal waiting
        waiting = False

        async def one(workspace: str) -> None:
            nonlocal waiting
            outbox = Outbox(starter.of(workspace))
            await outbox.once()
            waiting = waiting or outbox.waiting

        await tenants.each(one, await tenants.busy())

    pause = lambda: EVERY_WHILE_WAITING if waiting else EVERY  # noqa: E731
    await loop(once, every=pause, failed="outbox_failed")
