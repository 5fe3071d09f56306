"""Starting a run so that it starts once, and is never lost after the answer says it is there.

The row and the idempotency key are committed first, then Temporal is told. A crash in between
leaves a queued row, which the same key starts again under the same id, or the reconciler settles.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import structlog
from sqlmodel.ext.asyncio.session import AsyncSession

from api.config import ApiConfig
from api.correlation import request_id
from api.errors import KeyReusedError
from api.models.runs import LeadInput
from api.publishing import definition_of, find_version
from db import audit, idempotency, leads, runs
from db.definitions import Version, VersionStatus
from db.engine import Database
from db.ids import new_id
from db.runs import Run
from schemas.actions import Catalogue, action_timeouts
from schemas.errors import ConflictError, ErrorCode, SojournError, UnavailableError
from schemas.run import REVISION, Lead, RunStart, RunStatus
from schemas.validation import check_input, check_size
from workflows.gateway import Gateway

_log = structlog.get_logger(__name__)

# Called in the transaction that stores the run, with its id and lead id.
Recording = Callable[[AsyncSession, str, str | None], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be started; `fingerprint` tells two orders with one key apart.

    `tracking` becomes `input.tracking` if the definition's input schema names it.
    """

    definition: str
    version: int | None = None
    input: dict[str, Any] = field(default_factory=dict)
    tracking: dict[str, Any] | None = None
    lead: LeadInput | str | None = None
    priority: int | None = None
    actor: str = "api_key"
    key: str | None = None
    fingerprint: str = ""
    recording: Recording | None = None


@dataclass(frozen=True)
class Started:
    """A run that Temporal has; `created` is false when the idempotency key had made it before.

    `temporal_run_id` is there when the row does not know it yet: `Starter.mark` writes it.
    """

    run_id: str
    status: RunStatus
    lead_id: str | None
    created: bool
    temporal_run_id: str | None = None


@dataclass(frozen=True)
class Starter:
    """Starts runs."""

    database: Database
    gateway: Gateway
    config: ApiConfig
    catalogue: Catalogue

    async def start(self, order: Order) -> Started:
        """Start a run, or find the one that the order's key has started.

        Raises NotFoundError, ConflictError, InputError, LimitError, KeyReusedError; and
        UnavailableError with a time to retry after, within two seconds.
        """
        check_size(order.input, self.config.max_input_bytes, "the input")
        run_id = new_id()
        async with self.database.session() as session:
            holder = await self._claim(session, order, run_id)
            if holder == run_id:
                run, start = await self._store(session, order, run_id)
            else:
                run, start = await self._again(session, holder)
        created = holder == run_id
        if start is None:
            return Started(run.id, run.status, run.lead_id, created)
        temporal_run_id = await self._tell_temporal(run, start, order)
        return Started(run.id, RunStatus.RUNNING, run.lead_id, created, temporal_run_id)

    async def start_ordered(self, run_id: str) -> Started:
        """Start a run whose row a trigger has made; raises NotFoundError, UnavailableError.

        It does not matter whether somebody else starts it too.
        """
        async with self.database.session() as session:
            run, start = await self._again(session, run_id)
        if start is None:
            return Started(run.id, run.status, run.lead_id, created=False)
        temporal_run_id = await self.gateway.start(start, priority=run.priority)
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
                    session, self.config.workspace, started.run_id, started.temporal_run_id
                )
        except UnavailableError as error:
            _log.warning("mark_failed", run_id=started.run_id, error=error.message)

    async def _claim(self, session: AsyncSession, order: Order, run_id: str) -> str:
        if order.key is None:
            return run_id
        workspace = self.config.workspace
        try:
            return await idempotency.claim(session, workspace, order.key, order.fingerprint, run_id)
        except ConflictError as error:
            raise KeyReusedError(error.message, hint=error.hint) from error

    async def _store(
        self, session: AsyncSession, order: Order, run_id: str
    ) -> tuple[Run, RunStart]:
        workspace = self.config.workspace
        version = await find_version(session, workspace, order.definition, order.version)
        _refuse_unpublished(order.definition, version)
        definition = definition_of(version)
        given = order.input
        if order.tracking and "tracking" in definition.input.get("properties", {}):
            given = {**given, "tracking": order.tracking}
        check_input(definition.input, given)
        lead = await self._lead(session, order.lead)
        audit.add(session, workspace, actor=order.actor, action="run.start", subject=run_id)
        run = await runs.insert_queued(
            session,
            workspace,
            run_id=run_id,
            definition=order.definition,
            version=version.version,
            input=given,
            priority=order.priority or definition.priority,
            lead_id=lead.id if lead else None,
            correlation_id=request_id(),
        )
        if order.recording is not None:
            await order.recording(session, run.id, run.lead_id)
        return run, self._run_start(run, version, lead)

    async def _again(self, session: AsyncSession, run_id: str) -> tuple[Run, RunStart | None]:
        """The run that the key has made, with what it takes to start it if that never happened."""
        workspace = self.config.workspace
        run = await runs.get(session, workspace, run_id)
        if run.status is not RunStatus.QUEUED or run.temporal_run_id is not None:
            return run, None
        # Keeps the reconciler from withdrawing the row while it is started here.
        await runs.mark_checked(session, [run.id])
        version = await find_version(session, workspace, run.definition, run.version)
        lead = await self._lead(session, run.lead_id)
        return run, self._run_start(run, version, lead)

    async def _lead(self, session: AsyncSession, lead: LeadInput | str | None) -> Lead | None:
        if lead is None:
            return None
        workspace = self.config.workspace
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
            revision=REVISION,
        )

    async def _tell_temporal(self, run: Run, start: RunStart, order: Order) -> str:
        try:
            return await self.gateway.start(start, priority=run.priority)
        except SojournError as error:
            ambiguous = isinstance(error, UnavailableError) and error.details.get("ambiguous")
            # With a key the row stays as well: another request may be starting it right now, and
            # the next one with the key goes on with it. The reconciler ends what nobody wants.
            if not ambiguous and order.key is None:
                async with self.database.session() as session:
                    await runs.remove_unstarted(session, run.workspace, run.id)
            _log.warning("start_failed", run_id=run.id, code=error.code, ambiguous=bool(ambiguous))
            raise


def _refuse_unpublished(name: str, version: Version) -> None:
    if version.status is not VersionStatus.PUBLISHED:
        raise ConflictError(
            f"version {version.version} of {name!r} is {version.status.value}, not published",
            code=ErrorCode.VERSION_CONFLICT,
            hint="publish it, or start the active version",
        )
