"""One execution of a definition: walks step lists, and resumes where the carried state says.

The walk is re-entrant: a step whose state is final is not run again, a timer keeps its deadline,
a loop finds its finished iterations. So continue-as-new needs nothing but the state.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

from workflows.frame import Frame, variables
from workflows.outcomes import error_info
from workflows.recorder import LOCAL_RETRY, LOCAL_RETRY_THRESHOLD, Recorder
from workflows.unwinding import Quiesce, RunFailed, StopRun

with workflow.unsafe.imports_passed_through():
    from pydantic_core import to_json

    from schemas import expressions
    from schemas.actions import StepContext
    from schemas.errors import LimitError, SojournError
    from schemas.graph import dependencies
    from schemas.run import (
        MAX_OUTPUT_BYTES,
        MAX_STATE_BYTES,
        ErrorInfo,
        RunStart,
        RunState,
        StepState,
        StepStatus,
    )
    from schemas.steps import Condition, Step

_LOCAL_TIMEOUT = timedelta(seconds=5)
_ONE_MILLISECOND = timedelta(milliseconds=1)


class Execution:
    """What the steps of a run share: definition, state, recorder, pause and continue-as-new."""

    def __init__(self, start: RunStart, state: RunState, run_step: "RunStep") -> None:
        """Execute `start` from `state`; `run_step` runs one step's body by its kind."""
        self.start = start
        self._run_step = run_step
        self.state = state
        self.recorder = Recorder(start, state)
        self.quiescing = False
        self._kept_bytes = sum(_size(step.output) for step in state.steps.values())

    # -- expressions -------------------------------------------------------------------------

    def render(self, value: Any, frame: Frame) -> Any:
        """Render `{{ CEL }}` inside a value; raises ExpressionError."""
        references = list(expressions.references(value))
        if not references:
            return expressions.render(value, {})
        return expressions.render(value, self.scope(references, frame))

    def evaluate(self, source: str, frame: Frame) -> Any:
        """Evaluate an expression to a CEL value; raises ExpressionError."""
        scope = self.scope(expressions.expression_references(source), frame)
        return expressions.evaluate(source, scope)

    def scope(self, references: Any, frame: Frame) -> dict[str, Any]:
        """Collect the variables that the references name."""
        now = workflow.now().isoformat()
        return variables(self.start, self.state, frame, references, now)

    async def verdict(self, source: str, frame: Frame, path: str, summary: str) -> bool:
        """Decide a condition in a local activity, so that history holds the verdict."""
        scope = self.scope(expressions.expression_references(source), frame)
        return await self.local("verdict", [source, scope], path, summary)

    async def local(self, name: str, args: list[Any], path: str, summary: str) -> Any:
        """Run a local activity that decides the path; its result is recorded in history."""
        try:
            result = await workflow.execute_local_activity(
                name,
                args=args,
                activity_id=path,
                summary=summary,
                start_to_close_timeout=_LOCAL_TIMEOUT,
                retry_policy=LOCAL_RETRY,
                local_retry_threshold=LOCAL_RETRY_THRESHOLD,
            )
        except (ActivityError, ApplicationError) as error:
            raise RunFailed(error_info(error, path)) from error
        await self.recorder.inline()
        return result

    def context(self, path: str) -> StepContext:
        """What an activity is told about the step it works for."""
        start = self.start
        return StepContext(
            workspace=start.workspace,
            definition=start.definition.name,
            run_id=start.run_id,
            path=path,
            lead_id=start.lead.id if start.lead else None,
            correlation_id=start.correlation_id,
        )

    # -- time --------------------------------------------------------------------------------

    def after(self, duration: timedelta) -> datetime:
        """Give the time at which a timer started now ends, on the run's timescale."""
        return workflow.now() + duration / self.start.timescale

    async def wait(self, ready: Any, until: datetime | None, summary: str) -> bool:
        """Wait until `ready()` or the deadline; gives False at the deadline.

        Raises Quiesce when the run continues as new: the deadline then stands in the state.
        """
        self.recorder.queued()
        while not ready():
            if self.quiescing:
                raise Quiesce
            timeout = None
            if until is not None:
                timeout = until - workflow.now()
                if timeout < _ONE_MILLISECOND:
                    return False
            try:
                await workflow.wait_condition(
                    lambda: self.quiescing or ready(),
                    timeout=timeout,
                    timeout_summary=summary,
                )
            except TimeoutError:
                return ready()
        return True

    async def waiting(self, step: StepState, note: str) -> None:
        """Mark a step as waiting and flush: people must see what the run waits for."""
        step.status = StepStatus.WAITING
        step.note = note
        self.recorder.touch(step.path)
        await self.recorder.flush()

    def check_history(self) -> None:
        """Begin to continue as new when the server suggests it, or at the start's own limit."""
        info = workflow.info()
        limit = self.start.history_limit
        if info.is_continue_as_new_suggested() or (
            limit is not None and info.get_current_history_length() >= limit
        ):
            self.quiescing = True

    async def gate(self) -> None:
        """Stand here before each step: a paused run starts nothing, a long one continues as new."""
        self.check_history()
        if self.quiescing:
            raise Quiesce
        if self.state.paused:
            await self.wait(lambda: not self.state.paused, None, "paused")

    # -- steps -------------------------------------------------------------------------------

    async def run_list(self, steps: Sequence[Step], frame: Frame) -> Any:
        """Run a step list as a DAG; gives the output of the last step that completed."""
        waits_for = dependencies(steps)
        pending = list(steps)
        running: list[asyncio.Task[None]] = []
        done: set[str] = set()
        ids: dict[asyncio.Task[None], str] = {}
        while pending or running:
            ready: list[Step] = []
            blocked: list[Step] = []
            for step in pending:
                (ready if done.issuperset(waits_for[step.id]) else blocked).append(step)
            pending = blocked
            if len(ready) == 1 and not running:
                # The common straight line needs no task of its own.
                await self.step(ready[0], frame)
                done.add(ready[0].id)
                continue
            for step in ready:
                task = asyncio.create_task(self.step(step, frame))
                ids[task] = step.id
                running.append(task)
            finished = await self.first_done(running)
            running = [task for task in running if task not in finished]
            done.update(ids[task] for task in finished)
        return self._last_output(steps, frame)

    def _last_output(self, steps: Sequence[Step], frame: Frame) -> Any:
        for step in reversed(steps):
            state = self.state.steps.get(frame.path(step.id))
            if state is not None and state.status == StepStatus.COMPLETED:
                return state.output
        return None

    async def first_done(self, tasks: list[asyncio.Task[None]]) -> list[asyncio.Task[None]]:
        """Wait for at least one task; a failure cancels the others and is raised.

        Quiesce cancels nothing: the other tasks come to their own boundary first.
        """
        try:
            finished, _ = await workflow.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await _cancel(tasks)
            raise
        failures = [task.exception() for task in finished if not task.cancelled()]
        if any(task.cancelled() for task in finished):
            await _cancel(tasks)
            raise asyncio.CancelledError
        failure = _gravest(failures)
        if failure is None:
            return finished
        others = [task for task in tasks if task not in finished]
        if isinstance(failure, Quiesce):
            if others:
                await self._settle(others)
            raise failure
        await _cancel(others)
        raise failure

    async def _settle(self, tasks: list[asyncio.Task[None]]) -> None:
        """Wait for all tasks to reach a boundary; a graver end than Quiesce is raised."""
        rest = tasks
        while rest:
            try:
                finished = await self.first_done(rest)
            except Quiesce:
                return
            rest = [task for task in rest if task not in finished]

    async def gather(self, calls: list[Coroutine[Any, Any, Any]], limit: int) -> None:
        """Run calls side by side, at most `limit` at once, in their order."""
        waiting = list(reversed(calls))
        running: list[asyncio.Task[None]] = []
        try:
            while waiting or running:
                while waiting and len(running) < limit:
                    running.append(asyncio.create_task(waiting.pop()))
                finished = await self.first_done(running)
                running = [task for task in running if task not in finished]
        finally:
            for call in waiting:
                call.close()

    async def step(self, step: Step, frame: Frame) -> None:
        """Run one step to its end: guard, body, output, and what its error does."""
        path = frame.path(step.id)
        state = self.state.steps.get(path)
        if state is not None and state.status.done:
            return
        await self.gate()
        if state is None:
            state = StepState(path=path, id=step.id, type=step.type, title=step.title)
            state.started_at = workflow.now()
            self.state.steps[path] = state
        self.recorder.touch(path)
        try:
            if not await self._passes(step, state, frame):
                state.status = StepStatus.SKIPPED
            else:
                await self._body(step, state, frame)
        except StopRun:
            # The stop itself, and the steps around it: they are at their end with the run.
            state.status = StepStatus.COMPLETED
            state.finished_at = workflow.now()
            raise
        except Quiesce:
            raise
        except asyncio.CancelledError:
            state.status = StepStatus.CANCELLED
            state.finished_at = workflow.now()
            raise
        except SojournError as error:
            self._failed(step, state, error)
        finally:
            self.recorder.touch(path)
        state.finished_at = workflow.now()
        # A cancel that came while an activity was finishing well would be lost otherwise.
        if workflow.cancellation_reason() is not None:
            raise asyncio.CancelledError

    async def _passes(self, step: Step, state: StepState, frame: Frame) -> bool:
        # A condition's `if` is its verdict; and a step that had begun has passed its guard.
        if step.if_ is None or isinstance(step, Condition):
            return True
        if state.status != StepStatus.PENDING:
            return True
        return await self.verdict(step.if_, frame, f"{state.path}.if", f"if {step.if_}")

    async def _body(self, step: Step, state: StepState, frame: Frame) -> None:
        if state.status == StepStatus.PENDING:
            state.status = StepStatus.RUNNING
        output = await self._run_step(self, step, state, frame)
        state.output = output
        state.status = StepStatus.COMPLETED
        state.note = state.until = None
        if step.output is not None:
            state.output = self.render(step.output, frame)
        self._keep(state)

    def _keep(self, state: StepState) -> None:
        size = _size(state.output)
        if size > MAX_OUTPUT_BYTES:
            state.output = None
            raise LimitError(f"the output has {size} bytes; the limit is {MAX_OUTPUT_BYTES}")
        self._kept_bytes += size
        if self._kept_bytes > MAX_STATE_BYTES:
            state.output = None
            raise LimitError(
                f"the outputs of this run have {self._kept_bytes} bytes; "
                f"the limit is {MAX_STATE_BYTES}"
            )

    def _failed(self, step: Step, state: StepState, error: SojournError) -> None:
        """Keep a step's error; an error that comes from a step inside keeps its own place."""
        inner = error.error if isinstance(error, RunFailed) else None
        state.error = inner or ErrorInfo(code=error.code, message=error.message, step=state.path)
        state.status = StepStatus.FAILED
        state.finished_at = workflow.now()
        state.note = state.until = None
        if step.on_error == "fail":
            raise RunFailed(state.error) from error


RunStep = Callable[[Execution, Step, StepState, Frame], Awaitable[Any]]


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.gather(*tasks, return_exceptions=True)


def _gravest(failures: Sequence[BaseException | None]) -> BaseException | None:
    """Choose what to raise: a bug first, then a failure, a stop, and Quiesce last."""
    found = [failure for failure in failures if failure is not None]

    def rank(failure: BaseException) -> int:
        if isinstance(failure, Quiesce):
            return 3
        if isinstance(failure, StopRun):
            return 2
        return 1 if isinstance(failure, SojournError) else 0

    return min(found, key=rank, default=None)


def _size(value: Any) -> int:
    return 0 if value is None else len(to_json(value))
