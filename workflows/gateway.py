"""What the outside may say to Temporal: every call with a deadline and in Sojourn's errors."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import (
    Client,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import (
    Priority,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCError

from schemas.bulk import BULK, BulkCall
from schemas.errors import (
    ErrorCode,
    LimitError,
    NotFoundError,
    SojournError,
    UnavailableError,
)
from schemas.events import EVENT_SIGNAL
from schemas.operations import Decide, Migrate, Respond, Rewind, SetVars
from schemas.run import (
    INTERPRETER_TASK_QUEUE,
    MAX_MAILBOX,
    MAX_MAILBOX_BYTES,
    ErrorInfo,
    Event,
    RunStart,
    RunState,
    RunStatus,
)
from workflows.backlog import Backlog, backlogs, fresh_pollers
from workflows.blockages import Blockages
from workflows.codec import PayloadRefusedError
from workflows.described import CLOSED, Closed, Execution, Health
from workflows.events import RunEvent, translate
from workflows.opening import PayloadDesk, converter_for
from workflows.origins import Origins
from workflows.refusals import RETRY_AFTER, refusal, translated, unreadable
from workflows.scheduling import Schedules
from workflows.search import WORKSPACE, attributes_of

T = TypeVar("T")
Order = Decide | Respond | SetVars | Rewind | Migrate
_UPDATES: dict[type[Any], str] = {
    Decide: "decide",
    Respond: "respond",
    SetVars: "set_vars",
    Rewind: "rewind",
    Migrate: "migrate",
}
_MAILBOX_DEADLINE = 0.5
_QUERY_TRIES = 3
_FAIRNESS_KEY_BYTES = 64
_CLOSED_PAGE = 500
# Seconds for calls that are made beside everything else.
_PATIENT = 10.0


class Gateway:
    """The API's only way to Temporal; `deadline` is in seconds for each call."""

    def __init__(
        self,
        client: Client,
        *,
        task_queue: str = INTERPRETER_TASK_QUEUE,
        deadline: float = 1.5,
        fairness_weight: float | None = None,
    ) -> None:
        """Speak through `client`, which may be lazy.

        `fairness_weight` is the share of each workspace of this process in the task queue's work.
        """
        self._client = client
        self._task_queue = task_queue
        self._deadline = deadline
        self._fairness_weight = fairness_weight

    @property
    def schedules(self) -> Schedules:
        """The schedules in Temporal, under the same deadline."""
        return Schedules(self._client, self._task_queue, self._within)

    @property
    def blockages(self) -> Blockages:
        """The runs that do not get on, under the same deadline."""
        return Blockages(self._client, self._within)

    @property
    def origins(self) -> Origins:
        """The runs that Temporal has, and how they began; nobody waits for the answers."""
        patient = partial(self._within, deadline=max(self._deadline, _PATIENT))
        return Origins(self._client, self._task_queue, patient)

    @property
    def payloads(self) -> PayloadDesk:
        """What opens and seals payloads for people's tools; it makes no call."""
        return PayloadDesk(self._client)

    @property
    def task_queue(self) -> str:
        """The task queue that workers poll."""
        return self._task_queue

    async def backlogs(self) -> list[Backlog]:
        """Ask what the task queue holds; raises UnavailableError."""
        return await backlogs(self._client, self._task_queue, self._within)

    async def start(
        self, start: RunStart, *, priority: int = 3, state: RunState | None = None
    ) -> str:
        """Start a run and give Temporal's id of its first execution; a second call changes nothing.

        With `state` it begins there: its finished steps keep their results.
        Raises UnavailableError, whose `details["ambiguous"]` tells that the run may have started,
        and SojournError LIMIT_EXCEEDED when the start is larger than Temporal takes.
        """
        definition = start.definition
        call = self._client.start_workflow(
            definition.name,
            args=[start] if state is None else [start, state],
            id=start.workflow_id,
            task_queue=self._task_queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            execution_timeout=definition.limits.run_timeout,
            search_attributes=attributes_of(start),
            static_summary=f"{definition.title or definition.name} v{start.version}",
            priority=self._priority(start.workspace, priority),
        )
        try:
            handle = await self._within(call)
        except WorkflowAlreadyStartedError as error:
            # Closed already: an earlier attempt of this very start got through.
            return error.run_id or ""
        return handle.first_execution_run_id or handle.result_run_id or ""

    def _priority(self, workspace: str, key: int) -> Priority:
        """Let workspaces take turns; activities and child runs inherit it."""
        fairness_key = workspace.encode()[:_FAIRNESS_KEY_BYTES].decode(errors="ignore")
        return Priority(
            priority_key=key, fairness_key=fairness_key, fairness_weight=self._fairness_weight
        )

    async def pause(self, workflow_id: str) -> None:
        """Signal `pause`; raises NotFoundError, ConflictError when closed, UnavailableError."""
        await self._signal(workflow_id, "pause")

    async def resume(self, workflow_id: str) -> None:
        """Signal `resume`; raises as `pause`."""
        await self._signal(workflow_id, "resume")

    async def cancel(self, workflow_id: str) -> None:
        """Ask Temporal to cancel the run; raises as `pause`."""
        await self._within(self._client.get_workflow_handle(workflow_id).cancel())

    async def terminate(self, workflow_id: str, reason: str) -> None:
        """End the run where it stands, with no worker's help; raises as `pause`.

        `reason` is kept in its history as it is: no place for what is personal or secret.
        """
        handle = self._client.get_workflow_handle(workflow_id)
        await self._within(handle.terminate(reason=reason))

    async def signal(self, workflow_id: str, name: str, data: Any) -> None:
        """Deliver a signal to the `wait` step of its name, now or later; raises as `pause`.

        Raises LimitError when the run keeps as many untaken signals as it may. Signals sent at the
        same moment all find the last free place; the run drops those beyond it and logs that.
        """
        if await self._mailbox_is_full(workflow_id):
            raise LimitError(
                f"the run keeps {MAX_MAILBOX} signals that no step has taken; that is the limit",
                hint="wait until the run has taken some of them",
            )
        await self._signal(workflow_id, name, data)

    async def deliver(self, workflow_id: str, event: Event) -> None:
        """Signal an event to a run that waits for it, once or more; raises as `pause`."""
        await self._signal(workflow_id, EVENT_SIGNAL, event)

    async def _mailbox_is_full(self, workflow_id: str) -> bool:
        """Ask the worker only where it can be: each signal is an event of the history.

        False when no worker answers in time: Temporal keeps the signal, up to its own limit.
        """
        handle = self._client.get_workflow_handle(workflow_id)
        found = await self.describe(workflow_id)
        if found is None or found.status.terminal:
            return False  # the signal itself tells what is wrong
        young = found.run_id == found.first_run_id and found.history_length <= MAX_MAILBOX
        if young and found.history_bytes <= MAX_MAILBOX_BYTES:
            return False
        try:
            kept = await self._within(
                handle.query("mailbox", result_type=int), deadline=_MAILBOX_DEADLINE
            )
        except (SojournError, WorkflowQueryFailedError, WorkflowQueryRejectedError):
            return False
        return kept >= MAX_MAILBOX

    async def _signal(self, workflow_id: str, name: str, *args: Any) -> None:
        handle = self._client.get_workflow_handle(workflow_id)
        await self._within(handle.signal(name, args=list(args)))

    async def order(
        self, workflow_id: str, order: Order, *, deadline: float | None = None
    ) -> RunStatus:
        """Have a run carry out an operator's order, as an update; gives the status it has then.

        A refusal is raised as the run words it: ConflictError, NotFoundError, InputError, or a
        SojournError with its code. Raises UnavailableError when no worker answers in time; the
        run may carry the order out later.
        """
        handle = self._client.get_workflow_handle(workflow_id)
        name = _UPDATES[type(order)]
        try:
            update = handle.execute_update(name, order, result_type=RunStatus)
            return await self._within(update, deadline=deadline)
        except WorkflowUpdateFailedError as failure:
            raise refusal(failure) from failure
        except WorkflowUpdateRPCTimeoutOrCancelledError as error:
            raise UnavailableError(
                "the run did not answer in time; it may still follow the order",
                retry_after=RETRY_AFTER,
                details={"ambiguous": True},
            ) from error

    async def state(self, workflow_id: str, *, deadline: float = 1.0) -> RunState:
        """Query a run's whole state; raises UnavailableError when no worker answers in time."""
        handle = self._client.get_workflow_handle(workflow_id)
        for left in reversed(range(_QUERY_TRIES)):
            try:
                return await self._within(
                    handle.query("state", result_type=RunState), deadline=deadline
                )
            except (WorkflowQueryFailedError, WorkflowQueryRejectedError) as error:
                # A worker that has just dropped the run from its cache takes the end of a local
                # activity for one that it never began; it has replayed the run by the next query.
                if not left:
                    raise UnavailableError(f"the run does not answer: {error}") from error
        raise AssertionError("unreachable: the last try returns or raises")

    async def describe(self, workflow_id: str) -> Execution | None:
        """Describe a run's latest execution; None when Temporal does not know it."""
        handle = self._client.get_workflow_handle(workflow_id)
        try:
            found = await self._within(handle.describe())
        except NotFoundError:
            return None
        status = RunStatus.RUNNING if found.status is None else CLOSED.get(found.status)
        info = found.raw_description.workflow_execution_info
        return Execution(
            status or RunStatus.RUNNING,
            found.run_id,
            # Servers before 1.24 do not tell the first one.
            info.first_run_id or found.run_id,
            found.close_time,
            found.history_length,
            info.history_size_bytes,
            found.raw_description.pending_workflow_task.attempt,
        )

    async def closed_since(self, moment: datetime) -> AsyncIterator[list[Closed]]:
        """Page through the runs that closed at `moment` or later; visibility may lag some seconds.

        Other people's workflows in the namespace are left out. Raises UnavailableError.
        """
        listing = self._client.list_workflows(
            f"CloseTime >= '{moment.astimezone(UTC).isoformat()}'"
            f" AND {WORKSPACE.name} IS NOT NULL AND ExecutionStatus != 'ContinuedAsNew'",
            page_size=_CLOSED_PAGE,
        )
        while True:
            await self._within(listing.fetch_next_page())
            yield [
                Closed(found.id, CLOSED[found.status], found.close_time)
                for found in listing.current_page or ()
                if found.status and found.status in CLOSED and found.close_time
            ]
            if not listing.next_page_token:
                return

    async def outcome(self, workflow_id: str) -> tuple[Any, ErrorInfo | None]:
        """Give the output and the error of a closed run."""
        handle = self._client.get_workflow_handle(workflow_id)
        try:
            return await self._within(handle.result()), None
        except WorkflowFailureError as failure:
            cause = failure.cause
            if isinstance(cause, ApplicationError) and cause.details:
                return None, ErrorInfo.model_validate(cause.details[0])
            code = ErrorCode.CANCELLED if "ancel" in type(cause).__name__ else ErrorCode.INTERNAL
            return None, ErrorInfo(code=code, message=str(cause or failure))

    async def events(
        self, workflow_id: str, first_run_id: str, after: str | None = None
    ) -> AsyncIterator[RunEvent]:
        """Follow a run's events from Temporal's history until it closes, also over continue-as-new.

        `after` is the id of the last event already seen; `first_run_id` may be of any execution of
        the run. Raises NotFoundError.
        """

        def handle(run_id: str) -> WorkflowHandle[Any, Any]:
            return self._client.get_workflow_handle(workflow_id, run_id=run_id)

        try:
            converter = converter_for(self._client, workflow_id)
            async for event in translate(handle, first_run_id, after, converter):
                yield event
        except RPCError as error:
            raise translated(error) from error
        except PayloadRefusedError as error:
            raise unreadable(error) from error

    async def health(self) -> Health:
        """Ask Temporal for its health and for pollers of the task queue; never raises."""
        try:
            await self._within(self._client.service_client.check_health(), deadline=1.0)
            polling = await self._within(self._has_pollers())
        except SojournError as error:
            return Health(temporal=False, workers=False, message=error.message)
        message = None if polling else f"no worker polls the task queue {self._task_queue!r}"
        return Health(temporal=True, workers=polling, message=message)

    async def start_bulk(self, call: BulkCall) -> None:
        """Start a bulk job's workflow; a second call changes nothing. Raises UnavailableError."""
        starting = self._client.start_workflow(
            BULK,
            call,
            id=f"sojourn-bulk/{call.workspace}/{call.job_id}",
            task_queue=self._task_queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
        )
        # Closed already: an earlier attempt got through.
        with suppress(WorkflowAlreadyStartedError):
            await self._within(starting)

    async def _has_pollers(self) -> bool:
        answer = await self._client.workflow_service.describe_task_queue(
            DescribeTaskQueueRequest(
                namespace=self._client.namespace,
                task_queue=TaskQueue(name=self._task_queue),
                task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
            )
        )
        return fresh_pollers(answer) > 0

    async def _within(self, call: Awaitable[T], *, deadline: float | None = None) -> T:
        """Await a call for so long only: the SDK itself retries a dead server for ten seconds."""
        limit = deadline or self._deadline
        try:
            async with asyncio.timeout(limit):
                return await call
        except TimeoutError as error:
            raise UnavailableError(
                f"Temporal did not answer within {limit:g} s",
                retry_after=RETRY_AFTER,
                details={"ambiguous": True},
            ) from error
        except RPCError as error:
            raise translated(error) from error
        except PayloadRefusedError as error:
            raise unreadable(error) from error
        except (OSError, RuntimeError) as error:
            # A lazy client that cannot connect raises RuntimeError from the core.
            raise UnavailableError("Temporal cannot be reached", retry_after=RETRY_AFTER) from error
