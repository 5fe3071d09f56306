"""Child runs: each is a run of its own, started, followed and ended with the one above it."""

import asyncio
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from temporalio import workflow
from temporalio.common import Priority, WorkflowIDReusePolicy
from temporalio.exceptions import (
    ApplicationError,
    CancelledError,
    ChildWorkflowError,
    FailureError,
    TerminatedError,
    TimeoutError,
    WorkflowAlreadyStartedError,
    is_cancelled_exception,
)

from workflows.search import attributes_of
from workflows.tasks import Task, cancel, first_done
from workflows.unwinding import RunFailed

with workflow.unsafe.imports_passed_through():
    from pydantic_core import to_json

    from schemas.errors import ConflictError, ErrorCode, LimitError
    from schemas.run import (
        ENDINGS_REVISION,
        MAX_OPEN_SUB_RUNS,
        ErrorInfo,
        RunStart,
        RunStatus,
        StepState,
    )

if TYPE_CHECKING:
    from workflows.execution import Execution

# Beside the error of a failed run: an operator's abort ended it.
ABORTED = "aborted"
Handle = workflow.ChildWorkflowHandle[Any, Any]
# Above 2 MiB the server refuses the start, and with it the workflow task, again and again.
_MAX_START_BYTES = 1900 * 1024


@dataclass(frozen=True)
class End:
    """How a child run ended; `error` is there unless it completed, `aborted` by an operator."""

    status: RunStatus
    output: Any = None
    error: ErrorInfo | None = None
    aborted: bool = False


class Children:
    """The child runs of one run: the parts of its loops, and the sub-runs beside its steps."""

    def __init__(self, run: "Execution") -> None:
        """Keep the children of `run`."""
        self._run = run
        self._parts: dict[str, Handle] = {}
        self._beside: list[Task] = []
        self._detached: list[Task] = []

    # -- parts of this run -------------------------------------------------------------------

    async def part(self, start: RunStart, summary: str) -> End:
        """Run a batch of a loop's items to its end; pause and resume reach it meanwhile."""
        handle = await begin(start, summary=summary)
        self._parts[start.run_id] = handle
        try:
            if self._run.state.paused:
                await _tell(handle, "pause")
            return await end_of(handle, start.run_id, None)
        finally:
            del self._parts[start.run_id]

    async def tell(self, signal: str) -> None:
        """Send a signal to the parts that are under way."""
        for handle in list(self._parts.values()):
            await _tell(handle, signal)

    # -- sub-runs beside the steps -----------------------------------------------------------

    def check_room(self) -> None:
        """Refuse one more sub-run that nobody waits for; raises LimitError."""
        self._detached = [task for task in self._detached if not task.done()]
        running = [task for task in self._beside if not task.done()]
        count = len(running) + len(self._detached)
        if count >= MAX_OPEN_SUB_RUNS:
            raise LimitError(
                f"{count} sub-runs of this run are open; the limit is {MAX_OPEN_SUB_RUNS}"
            )

    def follow(self, handle: Handle, run_id: str, path: str) -> None:
        """Follow a parallel sub-run: the run ends after it, and fails with it."""

        async def watch() -> None:
            end = await end_of(handle, run_id, path)
            if end.error is not None and self._run.state.broken is None:
                self._run.state.broken = end.error

        self._beside.append(asyncio.create_task(watch()))

    def leave(self, handle: Handle, run_id: str, path: str) -> None:
        """Count a detached sub-run while it is open; its end is nobody's business."""

        async def watch() -> None:
            await end_of(handle, run_id, path)

        self._detached.append(asyncio.create_task(watch()))

    @property
    def beside(self) -> bool:
        """True when parallel sub-runs were started and are not settled."""
        return bool(self._beside)

    async def settle(self) -> None:
        """Wait for the ends of all parallel sub-runs; a cancel reaches them first."""
        while self._beside:
            finished = await first_done(self._beside)
            self._beside = [task for task in self._beside if task not in finished]

    async def join(self) -> None:
        """Wait for the parallel sub-runs at the run's end; raises RunFailed when one failed."""
        await self.settle()
        if self._run.state.broken is not None:
            raise RunFailed(self._run.state.broken)

    async def cancel(self) -> None:
        """Cancel the parallel sub-runs and wait for their ends."""
        await cancel(self._beside)
        self._beside = []


def child_id(run: "Execution", state: StepState, offset: int = 0) -> str:
    """Give a child's run id: the same in every replay, another for every attempt of the step."""
    return identity_of(run.start.run_id, state.path, state.round, state.attempts, offset)


def identity_of(run_id: str, path: str, round_: int, attempt: int, offset: int) -> str:
    """Give the id of the child that a run's step starts: in this round, with this attempt."""
    parts = (run_id, path, round_, attempt, offset)
    return str(uuid.uuid5(uuid.NAMESPACE_OID, "/".join(map(str, parts))))


async def begin(
    start: RunStart,
    *,
    summary: str,
    priority: int | None = None,
    detached: bool = False,
) -> Handle:
    """Start a child run; raises LimitError when its start is too large, ConflictError."""
    size = len(to_json(start))
    if size > _MAX_START_BYTES:
        raise LimitError(f"what the run needs has {size} bytes; the limit is {_MAX_START_BYTES}")
    policy = workflow.ParentClosePolicy
    try:
        return await workflow.start_child_workflow(
            start.definition.name,
            start,
            id=start.workflow_id,
            cancellation_type=workflow.ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
            parent_close_policy=policy.ABANDON if detached else policy.REQUEST_CANCEL,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            execution_timeout=start.definition.limits.run_timeout,
            search_attributes=attributes_of(start),
            static_summary=summary,
            # Without one of its own it takes that of the run above.
            priority=Priority(priority_key=priority) if priority else Priority.default,
        )
    except WorkflowAlreadyStartedError as error:
        raise ConflictError(f"the run {start.run_id} has been started before") from error
    except ChildWorkflowError as error:
        if start.revision < ENDINGS_REVISION or not is_cancelled_exception(error):
            raise
        # A cancel that came in the very moment of the start.
        raise asyncio.CancelledError from error


async def end_of(handle: Handle, run_id: str, path: str | None) -> End:
    """Wait for a child's end. Its error stands at `path`, or without one where the child says.

    A cancel of the caller reaches the child, whose end is awaited; raises CancelledError then.
    """
    try:
        return End(RunStatus.COMPLETED, await handle)
    except ChildWorkflowError as failure:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError from failure
        return _ended(failure, run_id, path)


def _ended(failure: ChildWorkflowError, run_id: str, path: str | None) -> End:
    cause = failure.cause
    details: dict[str, Any] = {"run_id": run_id}
    if isinstance(cause, ApplicationError):
        told = cause.details[0] if cause.details and isinstance(cause.details[0], dict) else {}
        inner = told.get("step")
        if path is None:
            details |= told.get("details") or {}
        elif inner:
            details["step"] = inner
        code = cause.type or ErrorCode.STEP_FAILED
        error = ErrorInfo(code=code, message=cause.message, step=path or inner, details=details)
        return End(RunStatus.FAILED, error=error, aborted=ABORTED in cause.details[1:])
    kinds: dict[type[Any], tuple[RunStatus, str, str]] = {
        CancelledError: (RunStatus.CANCELLED, ErrorCode.CANCELLED, "was cancelled"),
        TerminatedError: (RunStatus.TERMINATED, ErrorCode.CANCELLED, "was terminated"),
        TimeoutError: (RunStatus.TIMED_OUT, ErrorCode.TIMEOUT, "took too long"),
    }
    status, code, word = kinds.get(type(cause), (RunStatus.FAILED, ErrorCode.INTERNAL, "failed"))
    message = f"the run {run_id} {word}"
    return End(status, error=ErrorInfo(code=code, message=message, step=path, details=details))


async def _tell(handle: Handle, signal: str) -> None:
    try:
        await handle.signal(signal)
    except FailureError:
        # It ended at this moment: there is nothing to pause or resume.
        workflow.logger.info("the child run had ended", extra={"signal": signal})
