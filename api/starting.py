"""Starting a run so that it starts once, and is never lost after the answer says it is there.

The ordered row and the idempotency key are committed first, then Temporal is told. What stays
unstarted (Temporal away, a crash, no free slot) the outbox starts later under the same id.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any

import structlog
from sqlmodel.ext.asyncio.session import AsyncSession

from api.circuit import Circuit
from api.config import ApiConfig
from api.correlation import request_id
from api.errors import KeyReusedError
from api.failpoints import reach
from api.identity import SYSTEM
from api.models.runs import LeadInput
from api.publishing import definition_of, find_version
from api.resuming import resumed
from db import admission, idempotency, leads, rates, runs
from db.base import now
from db.definitions import Version
from db.engine import Database
from db.ids import new_id
from db.ordering import START_AGAIN, check_room, hold, place, refuse_unpublished
from db.runs import Run
from db.trigger_gates import Gate
from schemas.actions import Catalogue, action_timeouts
from schemas.errors import (
    ConflictError,
    ErrorCode,
    NotFoundError,
    SojournError,
    UnavailableError,
)
from schemas.run import Lead, RunStart, RunState, RunStatus
from schemas.validation import check_size
from workflows.gateway import Gateway

_log = structlog.get_logger(__name__)

# Called in the transaction that stores the run, with its id and lead id.
Recording = Callable[[AsyncSession, str, str | None], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be started; `fingerprint` tells two orders with one key apart.

    `tracking` becomes `input.tracking` if the definition's input schema names it. One that
    `waits` is queued where another is refused because of the rate of starts.
    """

    definition: str
    version: int | None = None
    input: dict[str, Any] = field(default_factory=dict)
    tracking: dict[str, Any] | None = None
    lead: LeadInput | str | None = None
    priority: int | None = None
    actor: str = SYSTEM
    key: str | None = None
    fingerprint: str = ""
    recording: Recording | None = None
    gate: Gate | None = None
    waits: bool = False


@dataclass(frozen=True)
class Started:
    """A run that runs or will; `created` is false when the idempotency key had made it before.

    `temporal_run_id` is there when the row does not know it yet: `Starter.mark` writes it.
    `position` is the place of a queued run among those of its definition, from 1.
    """

    run_id: str
    status: RunStatus
    lead_id: str | None
    created: bool
    temporal_run_id: str | None = None
    position: int | None = None

    @property
    def http_status(self) -> int:
        """201 for a run that was started, 202 for one that is queued, 200 for the key's own."""
        if not self.created:
            return 200
        return 202 if self.status is RunStatus.QUEUED else 201


@dataclass(frozen=True)
class _Stored:
    """A row with what it takes to start it; without `start` nothing is left to do."""

    run: Run
    start: RunStart | None = None


@dataclass(frozen=True)
class Starter:
    """Starts runs of one workspace: of `home`, or else of the installation's own."""

    database: Database
    gateway: Gateway
    config: ApiConfig
    catalogue: Catalogue
    circuit: Circuit
    home: str | None = None

    @property
    def workspace(self) -> str:
        """The workspace whose runs it starts."""
        return self.config.workspace if self.home is None else self.home

    def of(self, workspace: str) -> "Starter":
        """Give a starter for another workspace."""
        return replace(self, home=workspace)

    async def start(self, order: Order) -> Started:
        """Start a run, or find the one that the order's key has started.

        It stays queued while others of its definition go first, or Temporal is away. Raises
        NotFoundError, ConflictError, InputError, LimitError, KeyReusedError, RATE_LIMITED; and
        UnavailableError with a time to retry after, within about two seconds, when PostgreSQL is
        away or too many starts are queued.
        """
        check_size(order.input, self.config.max_input_bytes, "the input")
        run_id = new_id()
        there = await self.circuit.closed()
        async with self.database.session() as session:
            holder = await self._claim(session, order, run_id)
            if holder == run_id:
                stored = await self._store(session, order, run_id, there=there)
            else:
                stored = await self._again(session, holder)
            reach("before_commit")
        reach("after_commit")
        started = await self._go(stored, there=there)
        reach("before_response")
        return replace(started, created=holder == run_id)

    async def _go(self, stored: _Stored, *, there: bool) -> Started:
        """Admit and start what was stored, as far as that can be done now."""
        run, start = stored.run, stored.start
        position: int | None = None
        if start is not None and run.admitted_at is None:
            run, position = await self._admit(run)
        queued = Started(run.id, run.status, run.lead_id, False, position=position)
        if start is None or run.admitted_at is None or not there:
            return queued
        try:
            temporal_run_id = await self._tell_temporal(run, start)
        except UnavailableError as error:
            _log.warning("start_later", run_id=run.id, error=error.message)
            return queued
        except SojournError as error:
            # Temporal will not take it (it is too large, say): there is nothing to promise.
            _log.warning("start_failed", run_id=run.id, code=error.code)
            async with self.database.session() as session:
                await runs.remove_unstarted(session, run.workspace, run.id)
            raise
        return Started(run.id, RunStatus.RUNNING, run.lead_id, False, temporal_run_id)

    async def _admit(self, run: Run) -> tuple[Run, int | None]:
        """Admit what may start of the run's definition; gives the run, and its place in the queue.

        Others that are admitted with it are left to the outbox.
        """
        async with self.database.session() as session:
            own = (run.id, now() + START_AGAIN)
            admitted = await admission.admit(
                session, run.workspace, run.definition, self.config.caps, own=own
            )
            run = await runs.get(session, run.workspace, run.id)
            waits = run.admitted_at is None and run.status is RunStatus.QUEUED
            position = await admission.position(session, run) if waits else None
        await self.supersede(admitted.superseded)
        return run, position

    async def supersede(self, workflow_ids: Sequence[str]) -> None:
        """Ask runs to end for which newer ones wait; to be asked again until they have."""
        for workflow_id in workflow_ids:
            try:
                await self.gateway.cancel(workflow_id)
            except (ConflictError, NotFoundError, UnavailableError) as error:
                _log.info("supersede_later", workflow_id=workflow_id, error=error.message)

    async def start_ordered(self, run_id: str) -> Started:
        """Start a run that was ordered and admitted; raises NotFoundError, UnavailableError.

        One that resumes from another begins with its finished results; ConflictError if it cannot.
        It does not matter whether somebody else starts it too.
        """
        async with self.database.session() as session:
            stored = await self._again(session, run_id)
        run = stored.run
        if stored.start is None or run.admitted_at is None:
            return Started(run.id, run.status, run.lead_id, created=False)
        state = None
        if run.resumes_from is not None:
            state = await resumed(self.database, self.gateway, run, stored.start, self.config)
        temporal_run_id = await self._tell_temporal(run, stored.start, state)
        return Started(run.id, RunStatus.RUNNING, run.lead_id, True, temporal_run_id)

    async def mark(self, started: Started) -> None:
        """Note in the row that Temporal has the run; to be called after the answer is sent.

        The caller need not wait for it: a reader of the run asks Temporal anyway, and a mark that
        gets lost is made by the reconciler.
        """
        if started.temporal_run_id is None:
            return
        try:
            async with self.database.session() as session:
                await runs.mark_started(
                    session, self.workspace, started.run_id, started.temporal_run_id
                )
        except UnavailableError as error:
            _log.warning("mark_failed", run_id=started.run_id, error=error.message)

    async def _claim(self, session: AsyncSession, order: Order, run_id: str) -> str:
        if order.key is None:
            return run_id
        workspace = self.workspace
        try:
            return await idempotency.claim(session, workspace, order.key, order.fingerprint, run_id)
        except ConflictError as error:
            raise KeyReusedError(error.message, hint=error.hint) from error

    async def _store(
        self, session: AsyncSession, order: Order, run_id: str, *, there: bool
    ) -> _Stored:
        workspace, config = self.workspace, self.config
        version = await find_version(
            session, workspace, order.definition, order.version, order.gate
        )
        refuse_unpublished(order.definition, version)
        definition = definition_of(version)
        if not there or definition.limits.queues:
            await check_room(session, workspace, order.definition)
        given = order.input
        if order.tracking and "tracking" in definition.input.get("properties", {}):
            given = {**given, "tracking": order.tracking}
        counted = admission.rates_of(order.definition, definition.limits, config.caps)
        if counted and not order.waits:
            await self._count(session, order.definition, counted)
        lead = await self._lead(session, order.lead)
        run = await place(
            session,
            version,
            order.definition,
            run_id=run_id,
            input=given,
            actor=order.actor,
            lead_id=lead.id if lead else None,
            priority=order.priority,
            correlation_id=request_id(),
            at_once=config.caps,
            rated=bool(counted) and not order.waits,
        )
        if order.recording is not None:
            await order.recording(session, run.id, run.lead_id)
        return _Stored(run, self._run_start(run, version, lead))

    async def _count(self, session: AsyncSession, definition: str, counted: dict[str, int]) -> None:
        taken, wait = await rates.take(session, self.workspace, counted)
        if not taken:
            most = min(counted.values())
            raise SojournError(
                f"{definition!r} takes {most} starts a minute; that is the limit",
                code=ErrorCode.RATE_LIMITED,
                retry_after=max(1, ceil(wait)),
            )

    async def _again(self, session: AsyncSession, run_id: str) -> _Stored:
        """The run that was ordered before, with what it takes to start it if nobody has."""
        workspace = self.workspace
        run = await runs.get(session, workspace, run_id)
        if run.status is not RunStatus.QUEUED or run.temporal_run_id is not None:
            return _Stored(run)
        if run.admitted_at is not None:
            await hold(session, [run.id])
        version = await find_version(session, workspace, run.definition, run.version)
        lead = await self._lead(session, run.lead_id)
        return _Stored(run, self._run_start(run, version, lead))

    async def _lead(self, session: AsyncSession, lead: LeadInput | str | None) -> Lead | None:
        if lead is None:
            return None
        workspace = self.workspace
        if isinstance(lead, str):
            row = await leads.get(session, workspace, lead)
        else:
            row = await leads.upsert(
                session,
                workspace,
                lead.email,
                name=lead.name,
                company=lead.company,
                fields=lead.fields,
            )
        return Lead.model_validate(row.model_dump(include=set(Lead.model_fields)))

    def _run_start(self, run: Run, version: Version, lead: Lead | None) -> RunStart:
        return RunStart(
            run_id=run.id,
            workspace=run.workspace,
            definition=definition_of(version),
            version=run.version,
            input=run.input,
            lead=lead,
            correlation_id=run.correlation_id,
            timescale=self.config.timescale,
            timeouts=action_timeouts(self.catalogue),
            revision=self.config.revision,
        )

    async def _tell_temporal(self, run: Run, start: RunStart, state: RunState | None = None) -> str:
        reach("before_start")
        try:
            temporal_run_id = await self.gateway.start(start, priority=run.priority, state=state)
        except UnavailableError:
            self.circuit.failed()
            raise
        self.circuit.passed()
        reach("after_start")
        return temporal_run_id
