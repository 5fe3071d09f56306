"""Makes rows anew that are gone although Temporal has their runs, and finds those that are behind.

Rows get lost where a backup is restored, or by hand. Everything that can be said of a run without
its row is in Temporal: its start in the first event, its steps in its state, its end.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

import structlog

from api.abreast import CONCURRENCY, abreast
from api.endings import Ending, ending_of
from db import projection, recreating, runs
from db.base import now
from db.engine import Database
from db.locks import try_lock
from db.recreating import INCOMPLETE, Stored
from schemas.errors import ConflictError, NotFoundError, UnavailableError
from schemas.keeping import Keep, kept
from schemas.run import Projection, RunState, RunStatus, StepStatus
from workflows.gateway import Gateway
from workflows.origins import Known, Listing, UnreadableStartError
from workflows.recorder import whole

# How long after its end a run's lost row is made anew. Retention deletes the rows of ended runs on
# purpose, and its shortest time is a day after the row's end, which comes before Temporal's by no
# more than a workflow task takes: within half a day nothing that is gone was pruned. Nothing else
# deletes the row of a run that Temporal has: what a start withdraws, Temporal has never known.
WINDOW = timedelta(hours=12)
# Seconds between two looks at all runs: a lost row is back within 30 s also where a look falls
# into the moments for which visibility lags.
EVERY = 10.0
# How far visibility is behind at most; then the next look sees what was meant.
LAG = timedelta(seconds=3)
# Pages of a look; what they do not reach, the next looks do.
OPEN_PAGES, CLOSED_PAGES = 20, 10
# Seconds in which one look makes rows, and asks for states: after a restored backup the other rows
# are not to wait for all of them. Then those for one answer: a worker has to replay the run.
_MAKING, _FILLING, _DEADLINE = 8.0, 5.0, 5.0
# Rows that are made before the time is looked at again.
_CHUNK = 4 * CONCURRENCY
_log = structlog.get_logger(__name__)

Heal = Callable[[Sequence[runs.Run]], Awaitable[int]]


class Recreator:
    """Looks through all open runs, and those that closed of late, for rows that are not there.

    A page of a thousand runs is one call to Temporal and one statement.
    """

    def __init__(
        self,
        database: Database,
        gateway: Gateway,
        heal: Heal,
        *,
        keep: Keep = Keep.FULL,
        window: timedelta = WINDOW,
        every: float = EVERY,
    ) -> None:
        """Use `heal` for open rows of closed runs; `keep` is of what is shown of AI steps."""
        self._database = database
        self._gateway = gateway
        self._heal = heal
        self._keep = keep
        self._window = window
        self._every = every
        self._next = 0.0
        # Whether the last whole look made or changed rows, and had no time for all of them.
        self.behind = False
        # The same of the look under way.
        self._left = False
        self._open = _Walk(lambda: self._gateway.origins.open_runs(), OPEN_PAGES)
        self._closed = _Walk(
            lambda: self._gateway.origins.closed_runs(now() - self._window), CLOSED_PAGES
        )
        # Workflow ids of runs whose rows lack steps, or are behind the run.
        self._incomplete: dict[str, None] = {}
        # Open runs that were asked because their rows say another status: about what exactly.
        self._asked: dict[str, tuple[RunStatus, RunStatus, int]] = {}
        self._unreadable: set[str] = set()

    async def once(self) -> int:
        """Look once, if it is time and no other process does; gives how many rows were changed.

        Raises UnavailableError when Temporal or PostgreSQL is away.
        """
        if time.monotonic() < self._next:
            return 0
        self._next = time.monotonic() + self._every
        self.behind = self._left = False
        async with self._database.session() as guard:
            if not await try_lock(guard, "recreating"):
                return 0
            changed = await self._look() + await self._complete()
        if self._left:
            self.behind, self._next = True, 0.0
        return changed

    async def _look(self) -> int:
        end = time.monotonic() + _MAKING
        changed = 0
        for walk in (self._open, self._closed):
            for _ in range(walk.most):
                changed += await self._compare(await walk.page(), end)
                if not walk.under_way:
                    break
                if time.monotonic() >= end:
                    self._left |= changed > 0
                    break
        return changed

    async def _compare(self, page: Sequence[Known], end: float) -> int:
        """Compare a page with the rows; what is missing after the moment `end` is left."""
        async with self._database.session() as session:
            found = await recreating.stored(session, [known.run_id for known in page])
        missing = [
            known
            for known in page
            if known.run_id not in found and known.workflow_id not in self._unreadable
        ]
        made = 0
        for first in range(0, len(missing), _CHUNK):
            if time.monotonic() >= end:
                self._left |= made > 0
                break
            some = missing[first : first + _CHUNK]
            made += await abreast(some, self._make, failed="recreate_failed", name="run_id")
        behind = [
            known.workflow_id
            for known in page
            if known.run_id in found and self._is_behind(known, found[known.run_id])
        ]
        if not behind:
            return made
        async with self._database.session() as session:
            rows = await runs.open_among(session, behind)
        return made + await self._heal(rows)

    def _is_behind(self, known: Known, row: Stored) -> bool:
        """Whether a row is to be healed; one whose run must be asked is noted for that."""
        if row.seq == INCOMPLETE:
            self._incomplete[known.workflow_id] = None
        if known.closed:
            self._asked.pop(known.workflow_id, None)
            return not row.status.terminal
        if row.seq == INCOMPLETE or not self._is_wrong(known, row):
            return False
        if row.status is not RunStatus.QUEUED:
            self._incomplete[known.workflow_id] = None
            return False
        return True

    def _is_wrong(self, known: Known, row: Stored) -> bool:
        """Whether an open run's row says something else than the run, and did so for a while.

        A run that does say the same as its row is asked once only.
        """
        workflow_id = known.workflow_id
        if known.told is None or row.status is known.told or row.status.terminal:
            self._asked.pop(workflow_id, None)
            return False
        seen = (known.told, row.status, row.seq)
        if row.updated_at > now() - LAG or self._asked.get(workflow_id) == seen:
            return False
        if row.status is not RunStatus.QUEUED:
            self._asked[workflow_id] = seen
        return True

    async def _make(self, known: Known) -> bool:
        """Make the row of a run anew; false where there is nothing to be made."""
        gateway, workflow_id = self._gateway, known.workflow_id
        execution = await gateway.describe(workflow_id)
        if execution is None:
            return False
        ending: Ending | None = None
        if execution.status.terminal:
            ending = await ending_of(gateway, workflow_id, execution)
            if ending.at < now() - self._window:
                return False
        try:
            origin = await gateway.origins.origin(workflow_id, execution.run_id)
        except UnreadableStartError as error:
            self._unreadable.add(workflow_id)
            _log.error("run_row_lost", workflow_id=workflow_id, reason=str(error))
            return False
        except NotFoundError:
            return False
        place = origin.place
        run = recreating.row_of(
            origin.start,
            status=known.told or RunStatus.RUNNING,
            started_at=origin.started_at,
            temporal_run_id=execution.first_run_id,
            priority=origin.priority,
            parent_path=place.path if place else None,
            detached=place is not None and place.detached,
        )
        # In one transaction: nobody sees a run that has ended as one that is open.
        async with self._database.session() as session:
            if not await recreating.insert_anew(session, run, resumed=origin.resumed):
                return False
            if ending is not None:
                await projection.close(
                    session,
                    run.workspace,
                    run.id,
                    ending.status,
                    output=ending.output,
                    error=ending.error,
                    finished_at=ending.at,
                )
        self._incomplete[workflow_id] = None
        _log.warning("run_row_recreated", run_id=run.id, status=execution.status.value)
        return True

    async def _complete(self) -> int:
        """Ask the runs whose rows are incomplete for their states; what is left has its turn later.

        Without a worker nobody can tell a run's steps: the rows wait for one.
        """
        if not self._incomplete or not (await self._gateway.health()).workers:
            return 0
        end = time.monotonic() + _FILLING
        changed = 0
        left = list(self._incomplete)
        while left and time.monotonic() < end:
            some, left = left[:CONCURRENCY], left[CONCURRENCY:]
            try:
                changed += await abreast(
                    [_Ask(one) for one in some], self._fill, failed="fill_failed", name="run_id"
                )
            except UnavailableError as error:
                # A worker that does not answer is no reason to leave the other rows alone.
                _log.warning("run_row_incomplete", error=error.message)
        # What never answers is asked again no sooner than the next look.
        self._left |= bool(left) and changed > 0
        return changed

    async def _fill(self, ask: "_Ask") -> bool:
        """Write what a run's state tells into its row; true if something was written."""
        self._incomplete.pop(ask.workflow_id, None)
        try:
            state = await self._gateway.state(ask.workflow_id, deadline=_DEADLINE)
        except (NotFoundError, ConflictError):
            return False
        except UnavailableError:
            # Behind all others: it may never answer.
            self._incomplete[ask.workflow_id] = None
            raise
        async with self._database.session() as session:
            row = (await recreating.stored(session, [ask.run_id])).get(ask.run_id)
            if row is None:
                return False
            told = self._told(row, ask.run_id, state)
            connection = await session.connection()
            # A state with an end is of a run that is about to write that itself.
            if not (told.status.terminal or row.status.terminal):
                await projection.project(connection, told)
            if (told.status, told.seq) != (row.status, row.seq):
                # It was behind, and may come to be just as wrong once more.
                self._asked.pop(ask.workflow_id, None)
            return await projection.add_missing_steps(connection, told)

    def _told(self, row: Stored, run_id: str, state: RunState) -> Projection:
        told = whole(row.workspace, run_id, state)
        for step in told.steps:
            step.input = kept(self._keep, step.type, step.input)
            step.output = kept(self._keep, step.type, step.output)
            if row.status.terminal and not step.status.done:
                # As `projection.close` has it: what ended the run ended its steps.
                step.status, step.until = StepStatus.CANCELLED, None
                step.finished_at = row.finished_at
        return told


class _Ask:
    """A run to be asked for its state."""

    def __init__(self, workflow_id: str) -> None:
        self.workflow_id = workflow_id
        self.run_id = workflow_id.rpartition("/")[2]


class _Walk:
    """Walks through a listing again and again, `most` pages of it in one look."""

    def __init__(self, begin: Callable[[], Listing], most: int) -> None:
        self._begin = begin
        self._listing: Listing | None = None
        self.most = most

    @property
    def under_way(self) -> bool:
        """Whether the listing has more pages."""
        return self._listing is not None

    async def page(self) -> list[Known]:
        """Give the next page, of a new listing after the last one or after a fault."""
        listing, self._listing = self._listing or self._begin(), None
        page = await listing.page()
        if listing.more:
            self._listing = listing
        return page
