"""What Temporal and the worker say of an open run, in one round of calls with a deadline."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from api.reconciler import settle
from db import runs
from db.engine import Database
from db.runs import Run
from schemas.errors import SojournError
from schemas.run import RunState, RunStatus
from workflows.gateway import Execution, Gateway


@dataclass(frozen=True)
class Live:
    """A run's row with its live state; `stale` when an open run did not answer in time.

    `no_worker` tells that this is because no worker polls the task queue.
    """

    run: Run
    state: RunState | None
    stale: bool
    no_worker: bool = False


async def look(database: Database, gateway: Gateway, run: Run, deadline: float) -> Live:
    """Ask about an open run: Temporal whether it is open, the worker what it does.

    Not about one that waits for its turn, which only its row knows.

    A run that Temporal has closed and whose row does not know it yet is settled here, so that
    nobody reads a status that is no longer true. Never raises because of Temporal.
    """
    waits = run.due_at is not None and run.admitted_at is None and run.status is RunStatus.QUEUED
    if run.status.terminal or waits:
        return Live(run, None, stale=False)
    execution, state = await asyncio.gather(
        _describe(gateway, run, deadline), _state(gateway, run, deadline)
    )
    if execution is not None and execution.status.terminal:
        try:
            await settle(database, gateway, run, execution)
        except SojournError:
            return Live(run, state, stale=True)
        async with database.session() as session:
            return Live(await runs.get(session, run.workspace, run.id), None, stale=False)
    if state is not None or execution is None:
        return Live(run, state, stale=execution is None)
    health = await gateway.health()
    no_worker = health.temporal and not health.workers
    with suppress(SojournError):
        if await settle(database, gateway, run, execution):
            async with database.session() as session:
                run = await runs.get(session, run.workspace, run.id)
    return Live(run, None, stale=True, no_worker=no_worker)


async def _describe(gateway: Gateway, run: Run, deadline: float) -> Execution | None:
    try:
        async with asyncio.timeout(deadline):
            return await gateway.describe(run.workflow_id)
    except (SojournError, TimeoutError):
        return None


async def _state(gateway: Gateway, run: Run, deadline: float) -> RunState | None:
    try:
        return await gateway.state(run.workflow_id, deadline=deadline)
    except SojournError:
        return None
