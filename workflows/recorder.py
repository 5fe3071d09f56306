"""The recorder: keeps what changed and flushes it to the projection in one batch."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy

from workflows.search import DEFINITION_VERSION, RUN_STATUS

with workflow.unsafe.imports_passed_through():
    from schemas.run import (
        SERIAL_REVISION,
        TIMED_RETRIES_REVISION,
        FinalOutcome,
        Projection,
        RunStart,
        RunState,
        RunStatus,
        StepRecord,
        StepState,
        StepStatus,
    )

RECORD = "record"
# The database may be away for long: what reads or writes it is tried until it gets through. Waits
# above the threshold become timers, so that the workflow task ends meanwhile.
LOCAL_RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=15)
)
LOCAL_RETRY_THRESHOLD = timedelta(seconds=3)
_TIMEOUT = timedelta(seconds=10)
# Local activities all run inside one workflow task, where no signal gets in and history does not
# grow; after this many in a row a queued activity ends the task.
INLINE_BURST = 50


class Recorder:
    """Writes a run's projection; `touch` marks a step, `flush` sends what is marked."""

    def __init__(self, start: RunStart, state: RunState) -> None:
        """Record for one run."""
        self._start = start
        self._state = state
        self._dirty: dict[str, None] = {}
        self._released: list[StepRecord] = []
        self._lock = asyncio.Lock()
        self._slot = asyncio.Lock()
        self._inline = 0
        self.recorded = RunStatus.RUNNING
        self.unwinding = False
        # The end that this very execution has written before it had to decide again.
        self.ended: FinalOutcome | None = None

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold the run's one place for a local activity.

        Live they resolve in the order in which they end, in replay in that in which they began
        (temporalio/sdk-python issues 1578 and 1881): two at once would not replay.
        """
        if self._start.revision < SERIAL_REVISION:
            yield
            return
        async with self._slot:
            yield

    def touch(self, path: str) -> None:
        """Mark a step as changed."""
        self._dirty[path] = None

    def release(self, path: str) -> None:
        """Keep the record of a step that leaves the state, if it has not been sent yet."""
        if path in self._dirty:
            del self._dirty[path]
            self._released.append(_record(self._state.steps[path]))

    def queued(self) -> None:
        """Note that a queued activity or a timer ended the burst of inline steps."""
        self._inline = 0

    def ran_ahead(self) -> None:
        """Note an inline step behind which others have run already: no flush comes between."""
        self._inline += 1

    async def inline(self) -> None:
        """Note an inline step; after `INLINE_BURST` of them flush through a queued activity."""
        self._inline += 1
        if self._inline >= INLINE_BURST:
            self._inline = 0
            await self.flush(queued=True)

    async def catch_up(self) -> None:
        """Flush when the run's status is no longer what was last sent: it woke up, say."""
        if self.status() != self.recorded or self._state.moved_from is not None:
            await self.flush()

    async def rest(self) -> None:
        """At the end of a branch: flush when nothing but waits is left, which no step would."""
        if self._start.revision < TIMED_RETRIES_REVISION:
            return
        if self.status() in (RunStatus.WAITING, RunStatus.PAUSED):
            await self.catch_up()

    async def flush(self, *, queued: bool = False) -> None:
        """Send status and changed steps; nothing is sent when nothing changed.

        A cancel of the caller does not stop what is under way: the projection stays whole.
        """
        await asyncio.shield(self._flush(queued=queued))

    async def _flush(self, *, queued: bool) -> None:
        async with self._lock:
            status = self.status()
            if self._is_told(status) and not queued:
                return
            projection = self._projection(status)
            self._publish_status(status)
            payload = projection.model_dump(mode="json", exclude_none=True)
            if queued:
                answer = await workflow.execute_activity(
                    RECORD,
                    payload,
                    activity_id=f"record-{self._state.generation}-{projection.seq}",
                    summary="keep the run's steps",
                    start_to_close_timeout=_TIMEOUT,
                    retry_policy=LOCAL_RETRY,
                )
            else:
                async with self.slot():
                    answer = await workflow.execute_local_activity(
                        RECORD,
                        payload,
                        activity_id=f"record-{self._state.generation}-{projection.seq}",
                        start_to_close_timeout=_TIMEOUT,
                        retry_policy=LOCAL_RETRY,
                        local_retry_threshold=LOCAL_RETRY_THRESHOLD,
                    )
            self.recorded = status
            if isinstance(answer, dict) and "ended" in answer:
                self.ended = FinalOutcome.model_validate(answer["ended"])
            for record in projection.steps:
                kept = self._state.steps.get(record.path)
                if kept is not None and kept.status.done:
                    # Parameters are needed for the projection only; the carried state stays small.
                    kept.input = None

    def _is_told(self, status: RunStatus) -> bool:
        moved = self._state.moved_from is not None
        return not (self._dirty or self._released or moved) and status == self.recorded

    def status(self) -> RunStatus:
        """Give the run's status; that of an open run follows from its steps."""
        state = self._state
        if state.status.terminal:
            return state.status
        if self.unwinding:
            return RunStatus.COMPENSATING
        if state.paused:
            return RunStatus.PAUSED
        found = RunStatus.RUNNING
        # From the end, where the open steps are: this is asked before every action.
        for step in reversed(state.steps.values()):
            if step.status.done or _holds_others(step):
                continue
            if step.status != StepStatus.WAITING:
                return RunStatus.RUNNING
            if found != RunStatus.PAUSED:
                found = RunStatus.PAUSED if step.held else RunStatus.WAITING
        return found

    def _projection(self, status: RunStatus) -> Projection:
        state = self._state
        state.seq += 1
        if not state.status.terminal:
            state.status = status
        paths, self._dirty = list(self._dirty), {}
        released, self._released = self._released, []
        version = None
        if state.moved_from is not None:
            version, state.moved_from = self._start.version, None
            workflow.upsert_search_attributes([DEFINITION_VERSION.value_set(version)])
        waits = _waits(state)
        return Projection(
            workspace=self._start.workspace,
            run_id=self._start.run_id,
            seq=state.seq,
            status=status,
            steps=[*released, *(_record(state.steps[path]) for path in paths)],
            output=state.output,
            error=state.error,
            waiting_for=waits[0],
            until=waits[1],
            version=version,
        )

    def _publish_status(self, status: RunStatus) -> None:
        """Show an open run's status as a search attribute; Temporal itself shows a closed one's."""
        if status != self.recorded and not status.terminal:
            workflow.upsert_search_attributes([RUN_STATUS.value_set(status.value)])
        workflow.set_current_details(describe(self._start, self._state, workflow.now()))


_CONTAINERS = frozenset({"condition", "switch", "split", "parallel", "for_each", "repeat"})
_SHOWN = 40
_RECORDED = tuple(StepRecord.model_fields)


def _holds_others(step: StepState) -> bool:
    """True for a step that waits for the steps inside it: its own status tells nothing."""
    recovering = step.error is not None and step.status == StepStatus.RUNNING
    # Its time is over, and the steps of `on_timeout` run.
    late = step.type == "wait" and step.choice is not None
    return recovering or late or (step.type in _CONTAINERS and step.status != StepStatus.WAITING)


def _record(step: StepState) -> StepRecord:
    return StepRecord.model_construct(**{name: getattr(step, name) for name in _RECORDED})


def _waits(state: RunState) -> tuple[str | None, datetime | None]:
    """Give what a run waits for, in words, and when the first of its timers ends."""
    waiting = [step for step in state.steps.values() if step.status == StepStatus.WAITING]
    deadlines = [step.until for step in waiting if step.until is not None]
    words = "; ".join(step.note or step.id for step in waiting[:5])
    return words or None, min(deadlines, default=None)


def whole(workspace: str, run_id: str, state: RunState) -> Projection:
    """Give all that a run's state tells as one projection, for a row that has lost it.

    `state` is the answer to the query of its name. It has no parameters of finished steps, and no
    steps of finished iterations: those have left it.
    """
    waiting_for, until = _waits(state)
    return Projection(
        workspace=workspace,
        run_id=run_id,
        seq=state.seq,
        status=state.status,
        steps=[_record(step) for step in state.steps.values()],
        output=state.output,
        error=state.error,
        waiting_for=waiting_for,
        until=until,
    )


def describe(start: RunStart, state: RunState, now: datetime) -> str:
    """Describe a run in Markdown, as Temporal's Web UI shows it under "current details"."""
    definition = start.definition
    lines = [
        f"**{definition.title or definition.name}** version {start.version}: {state.status.value}",
        "",
        "| step | status | |",
        "|---|---|---|",
    ]
    steps = list(state.steps.values())
    for step in steps[-_SHOWN:]:
        until = (
            f" until {step.until:%Y-%m-%d %H:%M:%S} UTC" if step.until and step.until > now else ""
        )
        note = _cell(step.error.code if step.error else step.note)
        lines.append(f"| {step.path} | {step.status.value} | {note}{until} |")
    if state.error is not None:
        lines += ["", f"Failed: {state.error.code}: {_cell(state.error.message)}"]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")[:200] if value else ""
