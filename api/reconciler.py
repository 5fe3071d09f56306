"""Heals rows that no longer say what Temporal knows: terminated, timed out, never started.

Temporal is the truth while a run is open, its row a projection that the run writes itself; a run
that Temporal ends from outside cannot write any more.
"""

import asyncio
from datetime import datetime, timedelta

import structlog

from db import projection, runs
from db.base import now
from db.engine import Database
from db.locks import try_lock
from db.runs import Run
from schemas.errors import ErrorCode, SojournError
from schemas.run import ErrorInfo, RunStatus
from workflows.gateway import Execution, Gateway

STALE_AFTER = timedelta(seconds=15)
# A start has a deadline of seconds; a row that Temporal does not know after this never starts.
WITHDRAW_AFTER = timedelta(seconds=60)
BATCH = 200
CONCURRENCY = 8
_log = structlog.get_logger(__name__)


async def reconcile(
    database: Database, gateway: Gateway, *, stale_after: timedelta = STALE_AFTER
) -> int:
    """Compare the stalest open rows with Temporal once; gives how many were changed.

    Rows are marked as checked before Temporal is asked, in a short transaction: locks held over
    network calls would keep the runs from writing. Raises UnavailableError when either is away.
    """
    async with database.session() as session:
        if not await try_lock(session, "reconciler"):
            return 0
        stale = await runs.stale_open(session, older_than=now() - stale_after, limit=BATCH)
        await runs.mark_checked(session, [run.id for run in stale])
    slots = asyncio.Semaphore(CONCURRENCY)

    async def heal(run: Run) -> bool:
        async with slots:
            return await settle(database, gateway, run, await gateway.describe(run.workflow_id))

    answers = await asyncio.gather(*(heal(run) for run in stale), return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return sum(answer is True for answer in answers)


async def settle(
    database: Database, gateway: Gateway, run: Run, execution: Execution | None
) -> bool:
    """Bring one open row in line with what Temporal says; true if it was changed."""
    if execution is None:
        return await _unknown(database, run)
    if execution.status.terminal:
        return await _closed(database, gateway, run, execution)
    if run.status is RunStatus.QUEUED:
        async with database.session() as session:
            await runs.mark_started(session, run.workspace, run.id, execution.run_id)
        return True
    return False


async def _unknown(database: Database, run: Run) -> bool:
    if now() - max(run.created_at, run.checked_at) < WITHDRAW_AFTER and (
        now() - run.created_at < 2 * WITHDRAW_AFTER
    ):
        return False
    async with database.session() as session:
        if await runs.remove_unstarted(session, run.workspace, run.id):
            _log.warning("run_withdrawn", run_id=run.id)
            return True
        error = ErrorInfo(code=ErrorCode.INTERNAL, message="Temporal no longer knows this run")
        return await projection.close(session, run.workspace, run.id, RunStatus.FAILED, error=error)


async def _closed(database: Database, gateway: Gateway, run: Run, execution: Execution) -> bool:
    status = execution.status
    output, error = None, _ENDED_FROM_OUTSIDE.get(status)
    if error is None:
        output, error = await gateway.outcome(run.workflow_id)
        if status is RunStatus.CANCELLED:
            error = None
    closed_at: datetime = execution.closed_at or now()
    async with database.session() as session:
        changed = await projection.close(
            session,
            run.workspace,
            run.id,
            status,
            output=output,
            error=error,
            finished_at=closed_at,
        )
    if changed:
        _log.info("run_reconciled", run_id=run.id, status=status.value)
    return changed


_ENDED_FROM_OUTSIDE = {
    RunStatus.TERMINATED: ErrorInfo(
        code=ErrorCode.CANCELLED, message="the run was terminated in Temporal"
    ),
    RunStatus.TIMED_OUT: ErrorInfo(code=ErrorCode.TIMEOUT, message="the run took too long"),
}


async def run_reconciler(database: Database, gateway: Gateway, *, every: float = 15.0) -> None:
    """Reconcile every `every` seconds until cancelled; what is away is tried again next time."""
    while True:
        try:
            await reconcile(database, gateway)
        except SojournError as error:
            _log.warning("reconcile_failed", code=error.code, error=error.message)
        except Exception:
            # One bad row must not end the healing of all others.
            _log.exception("reconcile_failed")
        await asyncio.sleep(every)
