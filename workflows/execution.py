"""One execution of a definition: what its steps share. `workflows.walk` runs them."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from temporalio import workflow
from temporalio.exceptions import FailureError

from workflows.children import Children
from workflows.frame import Frame, variables
from workflows.inbox import Inbox
from workflows.outcomes import error_info
from workflows.recorder import LOCAL_RETRY, LOCAL_RETRY_THRESHOLD, Recorder
from workflows.unwinding import Quiesce, RunFailed

with workflow.unsafe.imports_passed_through():
    from pydantic_core import to_json

    from schemas import expressions
    from schemas.actions import StepContext
    from schemas.errors import LimitError
    from schemas.graph import inside
    from schemas.run import (
        ENDINGS_REVISION,
        MAX_EVENTS,
        MAX_OUTPUT_BYTES,
        MAX_RESULTS_BYTES,
        MAX_STATE_BYTES,
        QUOTAS_REVISION,
        RECOVERY_REVISION,
        RunStart,
        RunState,
        StepState,
        StepStatus,
        Undo,
    )
    from schemas.steps import Step
    from schemas.stretch import Outcome

_LOCAL_TIMEOUT = timedelta(seconds=5)
_ONE_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True)
class Line:
    """A step of a list in which each waits for the one before it, and the steps after it."""

    step: Step
    frame: Frame
    following: Sequence[Step]


class Execution:
    """What the steps of a run share: definition, state, recorder, pause and continue-as-new."""

    def __init__(self, start: RunStart, state: RunState, run_step: "RunStep") -> None:
        """Execute `start` from `state`; `run_step` runs one step's body by its kind."""
        self.start = start
        self.run_step = run_step
        self.state = state
        self.recorder = Recorder(start, state)
        self.children = Children(self)
        self.inbox = Inbox(state)
        self.quiescing = False
        self._received = 0
        # The task in which steps run one after the other, beside no others.
        self.trunk: asyncio.Task[Any] | None = None
        # Where the trunk stands in a straight list, and the steps after it that have run already.
        self.line: Line | None = None
        self.ahead: dict[str, Outcome] = {}
        self.ended: dict[str, datetime] = {}
        self._ids_inside: dict[str, frozenset[str]] = {}
        self._kept_bytes = sum(_size(step.output) for step in state.steps.values())
        self._kept_bytes += sum(_size(entry.kept.output) for entry in state.undo if entry.kept)

    @property
    def unwinding(self) -> bool:
        """True while compensations run: nothing stops or delays them."""
        return self.recorder.unwinding

    @property
    def stopping(self) -> bool:
        """True when the walk must come to a boundary; compensations never stop."""
        return self.quiescing and not self.unwinding

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
            async with self.recorder.slot():
                result = await workflow.execute_local_activity(
                    name,
                    args=args,
                    activity_id=path,
                    summary=summary,
                    start_to_close_timeout=_LOCAL_TIMEOUT,
                    retry_policy=LOCAL_RETRY,
                    local_retry_threshold=LOCAL_RETRY_THRESHOLD,
                )
        except FailureError as error:
            raise RunFailed(error_info(error, path)) from error
        await self.recorder.inline()
        return result

    def context(self, path: str) -> StepContext:
        """What an activity is told about the step it works for."""
        start = self.start
        state = self.state.steps.get(path)
        round_ = state.round if state is not None else 0
        return StepContext(
            workspace=start.workspace,
            definition=start.definition.name,
            run_id=start.run_id,
            path=path,
            lead_id=start.lead.id if start.lead else None,
            correlation_id=start.correlation_id,
            round=round_,
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
            if self.stopping:
                raise Quiesce
            timeout = None
            if until is not None:
                timeout = until - workflow.now()
                if timeout < _ONE_MILLISECOND:
                    return False
            try:
                await workflow.wait_condition(
                    lambda: self.stopping or ready(),
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

    def was_sent(self) -> None:
        """Count what came from outside, and make room for more before the quota is used up."""
        self.check_history()
        self._received += 1
        if self.start.revision >= QUOTAS_REVISION and self._received >= MAX_EVENTS // 2:
            self.quiescing = True

    async def gate(self, *, begun: bool = False) -> None:
        """Stand here before each step: a paused run starts nothing, a long one continues as new.

        A step that had `begun` before the run continued as new goes on through a pause.
        """
        if self.unwinding:
            return
        self.check_history()
        if self.quiescing:
            raise Quiesce
        if self.state.paused and not begun:
            await self.wait(lambda: not self.state.paused, None, "paused")

    def check_size(self, value: Any, limit: int, what: str) -> None:
        """Refuse what Temporal would not take later; raises LimitError."""
        size = _size(value)
        if size > limit and self.start.revision >= QUOTAS_REVISION:
            raise LimitError(f"{what} have {size} bytes; the limit is {limit}")

    def keep(self, state: StepState) -> None:
        """Count a step's output against what a run may carry; raises LimitError."""
        size = _size(state.output)
        limit = MAX_RESULTS_BYTES if state.type == "for_each" else MAX_OUTPUT_BYTES
        if size > limit:
            state.output = None
            raise LimitError(f"the output has {size} bytes; the limit is {limit}")
        self._kept_bytes += size
        if self._kept_bytes > MAX_STATE_BYTES:
            state.output = None
            raise LimitError(
                f"the outputs of this run have {self._kept_bytes} bytes; "
                f"the limit is {MAX_STATE_BYTES}"
            )

    @property
    def room(self) -> int:
        """How many bytes of outputs the run may still keep."""
        return MAX_STATE_BYTES - self._kept_bytes

    def rename(self, old: str, new: str) -> None:
        """Give a step another id, in all its paths and in those of the steps inside its loop."""
        pattern = re.compile(rf"(^|\.){re.escape(old)}(?=$|\[|\.)")
        moved: dict[str, StepState] = {}
        for path, step in self.state.steps.items():
            step.path = pattern.sub(rf"\g<1>{new}", path)
            step.id = new if step.id == old else step.id
            moved[step.path] = step
        self.state.steps = moved
        for entry in self.state.undo:
            entry.path = pattern.sub(rf"\g<1>{new}", entry.path)
            entry.prefix = pattern.sub(rf"\g<1>{new}", entry.prefix)
            entry.step = new if entry.step == old else entry.step
            if entry.kept is not None:
                entry.kept.path, entry.kept.id = entry.path, entry.step

    def forget_inside(self, path: str) -> None:
        """Drop the steps inside a step, of all its iterations, so that they run again."""
        for step in self._inside(path):
            self.forget(step.path)

    def _inside(self, path: str) -> list[StepState]:
        around = self.state.steps[path]
        ids = self._ids_inside.get(around.id)
        if ids is None:
            step = self.start.definition.by_id()[around.id]
            ids = self._ids_inside[around.id] = frozenset(inside(step))
        if not ids:
            return []
        prefix = path.removesuffix(around.id)
        steps = self.state.steps.values()
        return [step for step in steps if step.id in ids and step.path.startswith(prefix)]

    def end_open_steps(self, path: str | None = None) -> None:
        """Call steps cancelled that an end met before they could say so.

        It is the end of the run, or that of the step at `path` around them.
        """
        if path is not None and self.start.revision < RECOVERY_REVISION:
            return
        steps = self._inside(path) if path is not None else self.state.steps.values()
        for step in steps:
            if not step.status.done:
                step.status = StepStatus.CANCELLED
                step.finished_at = workflow.now()
                step.held = False
                self.recorder.touch(step.path)

    def end_with(self, path: str) -> None:
        """End the open steps inside a step that has failed or was cancelled.

        They came to a boundary to continue as new, and nothing begins them again.
        """
        if self.start.revision >= ENDINGS_REVISION:
            self.end_open_steps(path)

    def leave(self, prefix: str) -> None:
        """Drop an iteration's steps (`each[3].`), unless a compensation may still read them."""
        if not any(entry.path.startswith(prefix) for entry in self.state.undo):
            self.forget(prefix)

    def forget(self, path: str) -> None:
        """Drop a step, or under a prefix that ends in a dot all of an iteration's, from the state.

        Their records are kept, and what is still to be undone keeps its state for that.
        """
        whole = path.endswith(".")
        keeping = self.start.revision >= RECOVERY_REVISION
        due = {entry.path: entry for entry in self.state.undo if keeping and entry.order > 0}
        for found in list(self.state.steps):
            if found == path or (whole and found.startswith(path)):
                self.recorder.release(found)
                step = self.state.steps.pop(found)
                if found in due and due[found].kept is None:
                    due[found].kept = step
                else:
                    self._kept_bytes -= _size(step.output)

    def drop_kept(self, entry: Undo) -> None:
        """Drop what a step was before it ran again: it is not what will be undone."""
        if entry.kept is not None:
            self._kept_bytes -= _size(entry.kept.output)
            entry.kept = None


RunStep = Callable[[Execution, Step, StepState, Frame], Awaitable[Any]]


def _size(value: Any) -> int:
    return 0 if value is None else len(to_json(value))
