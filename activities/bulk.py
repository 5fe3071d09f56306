"""The `bulk_batch` activity: does a bulk job's action to the items that have their turn."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from sqlmodel.ext.asyncio.session import AsyncSession
from temporalio import activity
from temporalio.client import (
    Client,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from activities.services import Services
from db import (
    admission,
    audit,
    bulk,
    definitions,
    operator_log,
    redriving,
    runs,
    tenancy,
    terminating,
)
from db.bulk_tables import BulkItem, BulkJob, ItemState, JobState
from db.engine import Database
from schemas.actions import Catalogue, action_timeouts
from schemas.bulk import BULK_BATCH, BulkAction, BulkCall, BulkProgress
from schemas.definition import Definition
from schemas.errors import (
    ConflictError,
    ErrorCode,
    NotFoundError,
    SojournError,
    UnavailableError,
)
from schemas.masking import Masking
from schemas.operations import Decide, Migrate
from schemas.run import RunState

_logger = logging.getLogger(__name__)
# Seconds that one run may take to answer: a worker may have to replay it first.
_PATIENCE = 10.0
# The run has ended, or was never there: asking again changes nothing.
_GONE = (RPCStatusCode.NOT_FOUND, RPCStatusCode.FAILED_PRECONDITION)


def build(services: Services, catalogue: Catalogue) -> list[Callable[..., Any]]:
    """Give the activities of this module for a worker."""

    @activity.defn(name=BULK_BATCH)
    async def bulk_batch(call: Any) -> BulkProgress:
        if services.database is None:
            raise ApplicationError(
                "this worker has no database", type=str(ErrorCode.DATABASE_UNAVAILABLE)
            )
        order = BulkCall.model_validate(call)
        batch = Batch(
            services.database,
            activity.client(),
            catalogue,
            services.masking,
            order,
        )
        try:
            with tenancy.scope(order.workspace):
                return await batch.work()
        except NotFoundError as error:
            # The job was pruned.
            raise ApplicationError(error.message, type=error.code, non_retryable=True) from error
        except (UnavailableError, SQLAlchemyError, OSError, RPCError) as error:
            # What was done is kept; the next attempt goes on with the rest.
            raise ApplicationError(
                f"the batch broke off: {type(error).__name__}", type=str(ErrorCode.INTERNAL)
            ) from error

    return [bulk_batch]


class Batch:
    """The items of one call; each is done in its turn, and its result kept at once."""

    def __init__(
        self,
        database: Database,
        client: Client,
        catalogue: Catalogue,
        masking: Masking,
        call: BulkCall,
    ) -> None:
        """Prepare to work off `call`."""
        self._database = database
        self._client = client
        self._catalogue = catalogue
        self._masking = masking
        self._call = call

    async def work(self) -> BulkProgress:
        """Do the action to the next items; gives the job's figures.

        Raises UnavailableError, RPCError where PostgreSQL or Temporal is away.
        """
        workspace, job_id = self._call.workspace, self._call.job_id
        async with self._database.session() as session:
            job = await bulk.begin(session, workspace, job_id)
            found: list[BulkItem] = []
            if job.state is JobState.RUNNING:
                found = await bulk.pending(session, job_id, limit=self._call.size)
        for item in found:
            activity.heartbeat(item.position)
            await self._one(job, item)
        async with self._database.session() as session:
            figures = await bulk.progress(session, workspace, job_id)
        figures.handled = len(found)
        return figures

    async def _one(self, job: BulkJob, item: BulkItem) -> None:
        """Do one item; a refusal is its result."""
        try:
            if job.action is BulkAction.REDRIVE:
                await self._redrive(job, item)
            else:
                await self._steer(job, item)
        except UnavailableError:
            raise
        except SojournError as error:
            if error.code == ErrorCode.RATE_LIMITED:
                # The definition's queue is full: the item's turn comes again.
                raise UnavailableError(error.message) from error
            async with self._database.session() as session:
                await bulk.close_item(
                    session, item, ItemState.FAILED, code=error.code, message=error.message
                )

    async def _redrive(self, job: BulkJob, item: BulkItem) -> None:
        """Re-drive a dead letter, and keep the result in the same transaction."""
        wish = redriving.Wish(
            version=job.parameters.get("version"),
            origin=job.parameters.get("from", "failed_step"),
        )
        async with self._database.session() as session:
            done = await redriving.redrive(
                session, job.workspace, item.subject_id, wish, actor=f"bulk:{job.id}"
            )
            if not await bulk.close_item(session, item, ItemState.DONE, run_id=done.run_id):
                raise ConflictError("the job was cancelled")
            await operator_log.note_redrive(
                session, done, wish, actor=f"bulk:{job.id}", masking=self._masking
            )

    async def _steer(self, job: BulkJob, item: BulkItem) -> None:
        """Do something to an open run, then write it down."""
        async with self._database.session() as session:
            if await self._withdrawn(session, job, item):
                await self._done(session, job, item)
                return
            run = await runs.get(session, job.workspace, item.subject_id)
        if run.status.terminal:
            raise ConflictError(f"the run has ended: it is {run.status.value}")
        handle = self._client.get_workflow_handle(run.workflow_id)
        try:
            async with asyncio.timeout(_PATIENCE):
                about = await self._tell(job, run, handle)
        except TimeoutError as error:
            message = f"the run did not answer within {_PATIENCE:g} s; it may still follow"
            raise SojournError(message, code=ErrorCode.TIMEOUT) from error
        except RPCError as error:
            if error.status not in _GONE:
                raise
            raise ConflictError("the run has ended, or has not reached Temporal yet") from error
        except WorkflowUpdateFailedError as error:
            cause = error.cause
            code = cause.type if isinstance(cause, ApplicationError) else None
            message = cause.message if isinstance(cause, ApplicationError) else str(error)
            raise SojournError(message, code=code or ErrorCode.CONFLICT) from error
        except WorkflowQueryFailedError as error:
            raise ConflictError(f"the run does not answer: {error}") from error
        async with self._database.session() as session:
            if job.action is BulkAction.TERMINATE:
                await self._terminated(session, job, item)
            await self._done(session, job, item, **about)

    async def _withdrawn(self, session: AsyncSession, job: BulkJob, item: BulkItem) -> bool:
        """End a run that waits to be admitted, where that is wanted."""
        given = (session, job.workspace, item.subject_id)
        if job.action is BulkAction.CANCEL:
            return await admission.withdraw(*given)
        if job.action is BulkAction.TERMINATE and await admission.holds_back(*given):
            return await self._terminated(session, job, item)
        return False

    async def _terminated(self, session: AsyncSession, job: BulkJob, item: BulkItem) -> bool:
        reason: str = job.parameters["reason"]
        return await terminating.terminated(session, job.workspace, item.subject_id, reason)

    async def _tell(
        self, job: BulkJob, run: runs.Run, handle: WorkflowHandle[Any, Any]
    ) -> dict[str, Any]:
        """Say it to the run; gives what there is to tell about it besides."""
        match job.action:
            case BulkAction.PAUSE | BulkAction.RESUME:
                await handle.signal(job.action.value)
            case BulkAction.CANCEL:
                await handle.cancel()
            case BulkAction.TERMINATE:
                await handle.terminate(reason=f"terminated by bulk:{job.id}")
                return {"reason": job.parameters["reason"]}
            case BulkAction.RETRY:
                return {"steps": await self._retry(job, handle)}
            case BulkAction.MIGRATE:
                await handle.execute_update("migrate", await self._migration(job, run))
                return {"version": job.parameters["version"]}
            case BulkAction.REDRIVE:
                raise AssertionError("dead letters are no runs")
        return {}

    async def _retry(self, job: BulkJob, handle: WorkflowHandle[Any, Any]) -> list[str]:
        """Retry every step that is held, and give their paths; ConflictError when none is."""
        state = await handle.query("state", result_type=RunState)
        held = [step.path for step in state.steps.values() if step.held and step.decision is None]
        if not held:
            raise ConflictError("no step of the run waits for a decision")
        for path in held:
            order = Decide(action="retry", path=path, by=f"bulk:{job.id}")
            await handle.execute_update("decide", order)
        return held

    async def _migration(self, job: BulkJob, run: runs.Run) -> Migrate:
        number: int = job.parameters["version"]
        if run.version == number:
            raise ConflictError(f"the run is in version {number} already")
        async with self._database.session() as session:
            version = await definitions.get_version(session, job.workspace, run.definition, number)
        if version.status is not definitions.VersionStatus.PUBLISHED:
            raise ConflictError(
                f"version {number} is {version.status.value}", code=ErrorCode.VERSION_CONFLICT
            )
        return Migrate(
            definition=Definition.model_validate(version.document),
            version=number,
            mapping=job.parameters.get("mapping") or {},
            timeouts=action_timeouts(self._catalogue),
            by=f"bulk:{job.id}",
        )

    async def _done(
        self, session: AsyncSession, job: BulkJob, item: BulkItem, **about: Any
    ) -> None:
        """Write down, in the audit, in the run's log and in the item, what was done."""
        actor, action = f"bulk:{job.id}", f"run.{job.action.value}"
        audit.add(session, job.workspace, actor=actor, action=action, subject=item.subject_id)
        about |= {"job": job.id}
        await operator_log.note(
            session,
            job.workspace,
            item.subject_id,
            action,
            about,
            actor=actor,
            masking=self._masking,
        )
        await bulk.close_item(session, item, ItemState.DONE)
