"""Heals rows that no longer say what Temporal knows: terminated, timed out, never started.

Temporal is the truth while a run is open, its row a projection that the run writes itself; a run
that Temporal ends from outside cannot write any more. Rows that are gone: `api.recreating`.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog

from api.abreast import abreast
from api.endings import ending_of
from api.looping import loop
from api.recreating import Recreator
from db import blocked, projection, runs, tenancy
from db.base import now
from db.engine import Database
from db.locks import try_lock
from db.ordering import adopt
from db.runs import Run
from schemas.errors import ErrorCode, SojournError
from schemas.keeping import Keep
from schemas.run import ErrorInfo, RunStatus
from workflows.blockages import BLOCKED_ATTEMPT
from workflows.gateway import Closed, Execution, Gateway

STALE_AFTER = timedelta(seconds=15)
# A start has a deadline of seconds; a row that Temporal does not know after this never starts.
WITHDRAW_AFTER = timedelta(seconds=60)
# How long after its end visibility may show a run for the first time. The sweep finds later ones.
OVERLAP = timedelta(seconds=30)
BATCH = 200
# Seconds until the next pass when one had no time for everything.
_SOON = 1.0
_log = structlog.get_logger(__name__)


class Reconciler:
    """Compares rows with Temporal: all runs that closed since the last pass, and a stale few.

    Visibility shows what closed, however many runs are open. What it never shows (runs that did
    not start, or whose history is gone) the sweep over the stalest open rows finds in time. It
    keeps no state but a moment in memory: after a restart the open rows tell where to begin.
    """

    def __init__(
        self,
        database: Database,
        gateway: Gateway,
        *,
        stale_after: timedelta = STALE_AFTER,
        keep: Keep = Keep.FULL,
    ) -> None:
        """Reconcile `database`; the sweep takes rows that nobody wrote for `stale_after`.

        `keep` is how much of prompts and answers a row that is made anew may hold.
        """
        self._database = database
        self._gateway = gateway
        self._stale_after = stale_after
        self._seen_until: datetime | None = None
        self._told: set[str] = set()
        self._recreator = Recreator(database, gateway, self._heal, keep=keep)

    async def once(self) -> int:
        """Make one pass; gives how many rows were changed.

        Raises UnavailableError when Temporal or PostgreSQL is away: the next pass then looks at
        the same again. Visibility alone being away does not stop the sweep.
        """
        failure: SojournError | None = None
        changed = 0
        try:
            changed = await self._follow_closed()
        except SojournError as error:
            if not (await self._gateway.health()).temporal:
                # The sweep would mark rows as checked that nobody could be asked about.
                raise
            failure = error
        changed += await self._follow_blocked()
        changed += await self._sweep()
        changed += await self._recreator.once()
        if failure is not None:
            raise failure
        return changed

    @property
    def behind(self) -> bool:
        """Whether the last pass had no time for all rows that it could have made anew."""
        return self._recreator.behind

    async def _follow_closed(self) -> int:
        """Settle the open rows of runs that have closed since the last pass that got through.

        The moment is Temporal's own close time, so that clocks need not agree.
        """
        since = self._seen_until
        if since is None:
            async with self._database.session() as session:
                since = await runs.oldest_check(session) or now()
        changed, newest = 0, self._seen_until
        differing: set[str] = set()
        async for page in self._gateway.closed_since(since - OVERLAP):
            async with self._database.session() as session:
                ids = [closed.workflow_id for closed in page]
                left = await runs.open_among(session, ids)
                ended = await runs.ended_among(session, ids)
            changed += await self._heal(left)
            differing |= await self._differing(page, ended)
            for closed in page:
                newest = max(newest or closed.closed_at, closed.closed_at)
        self._seen_until, self._told = newest, differing
        return changed

    async def _differing(self, page: Sequence[Closed], ended: dict[str, RunStatus]) -> set[str]:
        """Log, once for each, rows whose final status is another than Temporal's.

        A final status never changes, so nothing is healed: a run that writes its end and then, in
        the same workflow task, meets a cancel may end otherwise.
        """
        differing: set[str] = set()
        for closed in page:
            status = ended.get(closed.workflow_id, closed.status)
            if status is closed.status:
                continue
            # Of a run that was reset, visibility also shows the execution that the reset ended.
            latest = await self._gateway.describe(closed.workflow_id)
            if latest is None or latest.status is status:
                continue
            differing.add(closed.workflow_id)
            if closed.workflow_id not in self._told:
                _log.warning(
                    "run_status_differs",
                    workflow_id=closed.workflow_id,
                    row=status.value,
                    temporal=latest.status.value,
                )
        return differing

    async def _follow_blocked(self) -> int:
        """Look at the runs that Temporal reports, and at those that were blocked until now."""
        reported = await self._gateway.blockages.reported()
        async with self._database.session() as session:
            await blocked.settle_letters(session)
            held = {run.id: run for run in await blocked.blocked_runs(session)}
            for run in await runs.open_among(session, reported):
                held[run.id] = run
        return await self._heal(list(held.values()))

    async def _sweep(self) -> int:
        """Compare the stalest open rows with Temporal.

        Rows are marked as checked before Temporal is asked, in a short transaction: locks held
        over network calls would keep the runs from writing.
        """
        async with self._database.session() as session:
            if not await try_lock(session, "reconciler"):
                return 0
            older_than = now() - self._stale_after
            stale = await runs.stale_open(session, older_than=older_than, limit=BATCH)
            await runs.mark_checked(session, [run.id for run in stale])
        return await self._heal(stale)

    async def _heal(self, found: Sequence[Run]) -> int:
        """Ask Temporal about each run and settle its row; gives how many were changed.

        Raises UnavailableError after all were tried; any other fault of a row is logged, since one
        bad row must not end the healing of all others.
        """

        async def heal(run: Run) -> bool:
            execution = await self._gateway.describe(run.workflow_id)
            return await settle(self._database, self._gateway, run, execution)

        return await abreast(found, heal, failed="reconcile_row_failed", name="id")


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
            await runs.mark_started(session, run.workspace, run.id, execution.first_run_id)
        return True
    return await _follow_progress(database, gateway, run, execution)


async def _follow_progress(
    database: Database, gateway: Gateway, run: Run, execution: Execution
) -> bool:
    """Note that an open run is blocked, or that it is no longer."""
    if execution.task_attempts >= BLOCKED_ATTEMPT and run.blocked_at is None:
        reason = await gateway.blockages.reason(run.workflow_id)
        async with database.session() as session:
            marked = await blocked.mark(session, run, reason)
        if marked:
            _log.error("run_blocked", run_id=run.id, definition=run.definition, reason=reason)
        return marked
    if execution.task_attempts <= 1 and run.blocked_at is not None:
        async with database.session() as session:
            cleared = await blocked.clear(session, run.id)
        _log.info("run_unblocked", run_id=run.id)
        return cleared
    return False


async def _unknown(database: Database, run: Run) -> bool:
    if now() - max(run.created_at, run.checked_at) < WITHDRAW_AFTER and (
        now() - run.created_at < 2 * WITHDRAW_AFTER
    ):
        return False
    if run.due_at is not None and run.status is RunStatus.QUEUED:
        # It was promised to be started: the outbox does that, however late.
        return False
    if run.trigger_id is not None and run.status is RunStatus.QUEUED:
        # Of an API of before `due_at`, which died before it could start what it had ordered.
        async with database.session() as session:
            await adopt(session, run.id)
        return True
    async with database.session() as session:
        if await runs.remove_unstarted(session, run.workspace, run.id):
            _log.warning("run_withdrawn", run_id=run.id)
            return True
        error = ErrorInfo(code=ErrorCode.INTERNAL, message="Temporal no longer knows this run")
        return await projection.close(session, run.workspace, run.id, RunStatus.FAILED, error=error)


async def _closed(database: Database, gateway: Gateway, run: Run, execution: Execution) -> bool:
    ending = await ending_of(gateway, run.workflow_id, execution)
    async with database.session() as session:
        changed = await projection.close(
            session,
            run.workspace,
            run.id,
            ending.status,
            output=ending.output,
            error=ending.error,
            finished_at=ending.at,
        )
    if changed:
        _log.info("run_reconciled", run_id=run.id, status=ending.status.value)
    return changed


async def run_reconciler(
    database: Database, gateway: Gateway, *, every: float = 15.0, keep: Keep = Keep.FULL
) -> None:
    """Reconcile every `every` seconds until cancelled; what is away is tried again next time.

    `keep` is how much of prompts and answers a row that is made anew may hold.
    """
    # Visibility and the sweep show the runs of all workspaces.
    with tenancy.system():
        reconciler = Reconciler(database, gateway, keep=keep)

        def pause() -> float:
            return min(_SOON, every) if reconciler.behind else every

        await loop(reconciler.once, every=pause, failed="reconcile_failed")
