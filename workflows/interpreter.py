"""The one workflow of Sojourn: its type is the definition's name, its input the definition."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NoReturn

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from workflows.children import ABORTED
from workflows.compensation import unwind
from workflows.course import follow
from workflows.execution import Execution
from workflows.operating import Operator
from workflows.steps.dispatch import run_step
from workflows.tasks import shielded
from workflows.unwinding import Aborted, Quiesce, RunFailed

with workflow.unsafe.imports_passed_through():
    from pydantic_core import to_json

    from schemas.errors import LimitError, SojournError
    from schemas.events import EVENT_SIGNAL
    from schemas.operations import Decide, Migrate, Respond, Rewind, SetVars
    from schemas.run import (
        MAX_CARRIED_BYTES,
        MAX_MAILBOX,
        MAX_MAILBOX_BYTES,
        QUOTAS_REVISION,
        REVISION,
        ErrorInfo,
        Event,
        RunStart,
        RunState,
        RunStatus,
    )


def _decode(args: Sequence[RawValue]) -> tuple[RunStart, RunState]:
    convert = workflow.payload_converter().from_payload
    start = convert(args[0].payload, RunStart)
    if len(args) > 1:
        return start, convert(args[1].payload, RunState)
    # Not now(): what happened while no worker took the first task is part of the run.
    return start, RunState(started_at=workflow.info().workflow_start_time)


@workflow.defn(dynamic=True)
class Interpreter:
    """Runs a definition; signals pause, resume and cancel it, the query `state` shows it."""

    @workflow.init
    def __init__(self, args: Sequence[RawValue]) -> None:
        """Decode the input first: signals may come before the first step."""
        start, state = _decode(args)
        self._run = Execution(start, state, run_step)
        self._operator = Operator(self._run)

    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> Any:
        """Run to the end, or continue as new; a failed run carries its code as error type."""
        run = self._run
        if run.start.revision > REVISION:
            # Fails the workflow task, not the run: it waits for a newer worker, and is unharmed.
            raise RuntimeError(f"needs revision {run.start.revision}, this worker has {REVISION}")
        if run.start.parent is not None and run.state.seq == 0:
            # Nobody else tells a child's row that it has begun.
            run.recorder.recorded = RunStatus.QUEUED
        try:
            await run.recorder.catch_up()
            while True:
                try:
                    output = await follow(run)
                    if not self._operator.rewinding:
                        break
                except Quiesce:
                    pass
                if not self._operator.go_back():
                    await run.children.settle()
                    await self._continue_as_new(args[0])
        except asyncio.CancelledError:
            return await self._end(RunStatus.CANCELLED)
        except SojournError as error:
            if workflow.cancellation_reason() is not None:
                return await self._end(RunStatus.CANCELLED)
            info = error.error if isinstance(error, RunFailed) else _info(error)
            aborted = isinstance(error, Aborted)
            return await self._end(RunStatus.FAILED, error=info, aborted=aborted)
        return await self._end(RunStatus.COMPLETED, output=output)

    async def _end(
        self,
        status: RunStatus,
        *,
        output: Any = None,
        error: ErrorInfo | None = None,
        aborted: bool = False,
    ) -> Any:
        """End the run as decided; no cancel stops that.

        When the row already has an end that this execution has written (a cancel came, or the
        worker died, before Temporal had it), that end counts.
        """
        await shielded(self._close(status, output, error))
        state = self._run.state
        if state.status == RunStatus.CANCELLED:
            raise asyncio.CancelledError
        if state.error is not None:
            raise _failure(state.error, aborted=aborted)
        return state.output

    async def _close(self, status: RunStatus, output: Any, error: ErrorInfo | None) -> None:
        """Unwind what did not complete and write the final projection."""
        run = self._run
        if run.children.beside:
            await run.children.cancel()
        if status != RunStatus.COMPLETED:
            await unwind(run, error)
        if run.children.beside:
            await run.children.settle()
        run.recorder.unwinding = False
        run.end_open_steps()
        state = run.state
        if run.recorder.ended is None:
            state.status, state.output, state.error = status, output, error
            await run.recorder.flush()
        if run.recorder.ended is not None:
            ended = run.recorder.ended
            state.status, state.output, state.error = ended.status, ended.output, ended.error
        await workflow.wait_condition(workflow.all_handlers_finished)

    async def _continue_as_new(self, start: RawValue) -> NoReturn:
        run = self._run
        await run.recorder.flush()
        await workflow.wait_condition(workflow.all_handlers_finished)
        _check_carried(start, run.state)
        # Nothing is awaited from here on, so that no signal falls between the two runs.
        migrated = self._operator.migrate_now()
        run.state.generation += 1
        workflow.continue_as_new(args=[migrated or start, run.state])

    @workflow.query
    def state(self) -> RunState:
        """Give the run's whole state, with the status as of now."""
        state = self._run.state
        return state.model_copy(update={"status": self._run.recorder.status()})

    @workflow.query
    def mailbox(self) -> int:
        """Give how many signals wait to be taken; above `MAX_MAILBOX` more are dropped."""
        return self._kept_signals()

    @workflow.signal
    async def pause(self) -> None:
        """Start nothing new; running activities finish and timers elapse."""
        await self._set_paused(paused=True)

    @workflow.signal
    async def resume(self) -> None:
        """Go on after a pause."""
        await self._set_paused(paused=False)

    async def _set_paused(self, *, paused: bool) -> None:
        self._run.check_history()
        if self._run.state.paused != paused and not self._run.state.status.terminal:
            self._run.state.paused = paused
            await self._run.recorder.catch_up()
            await self._run.children.tell("pause" if paused else "resume")

    @workflow.signal(unfinished_policy=workflow.HandlerUnfinishedPolicy.ABANDON)
    async def cancel(self) -> None:
        """Ask Temporal to cancel this run, so that both ways of cancelling are one."""
        # The server refuses a workflow's cancel of itself, so an activity asks for it.
        await workflow.execute_activity(
            "request_cancel",
            summary="cancel this run",
            start_to_close_timeout=timedelta(seconds=10),
            cancellation_type=workflow.ActivityCancellationType.ABANDON,
        )

    @workflow.signal(name=EVENT_SIGNAL)
    def on_event(self, event: Event) -> None:
        """Keep an event for the steps that wait for it; one that is known already is dropped."""
        self._run.was_sent()
        self._run.inbox.receive(event)

    @workflow.signal(dynamic=True)
    def on_signal(self, name: str, args: Sequence[RawValue]) -> None:
        """Keep a signal for the `wait` step of its name; beyond the quota it is dropped."""
        state = self._run.state
        self._run.was_sent()
        if self._kept_signals() >= MAX_MAILBOX:
            workflow.logger.warning("mailbox full, signal dropped", extra={"signal": name})
            return
        try:
            data = workflow.payload_converter().from_payload(args[0].payload) if args else None
        except Exception:
            # Any sender can send bytes that do not decode; that must not stop the run.
            workflow.logger.warning("signal not decodable", extra={"signal": name})
            return
        state.mailbox.setdefault(name, []).append(data)

    def _kept_signals(self) -> int:
        """Give how many signals wait; a mailbox whose bytes are too many counts as full."""
        mailbox = self._run.state.mailbox
        count = sum(len(box) for box in mailbox.values())
        if count < MAX_MAILBOX and self._run.start.revision >= QUOTAS_REVISION:
            full = count and len(to_json(mailbox)) > MAX_MAILBOX_BYTES
            return MAX_MAILBOX if full else count
        return count

    @workflow.update
    async def decide(self, order: Decide) -> RunStatus:
        """Retry, skip or abort a step that failed and is held."""
        return await self._operator.decide(order)

    @decide.validator
    def _may_decide(self, order: Decide) -> None:
        self._operator.check_decide(order)

    @workflow.update
    async def respond(self, order: Respond) -> RunStatus:
        """Answer an approval."""
        return await self._operator.respond(order)

    @respond.validator
    def _may_respond(self, order: Respond) -> None:
        self._operator.check_respond(order)

    @workflow.update
    async def set_vars(self, order: SetVars) -> RunStatus:
        """Change `vars` of a paused run."""
        return await self._operator.set_vars(order)

    @set_vars.validator
    def _may_set_vars(self, order: SetVars) -> None:
        self._operator.check_set_vars(order)

    @workflow.update
    async def rewind(self, order: Rewind) -> RunStatus:
        """Go back to a step: it and all that follows it run again."""
        return await self._operator.rewind(order)

    @rewind.validator
    def _may_rewind(self, order: Rewind) -> None:
        self._operator.check_rewind(order)

    @workflow.update
    async def migrate(self, order: Migrate) -> RunStatus:
        """Go on in another version of the definition."""
        return await self._operator.migrate(order)

    @migrate.validator
    def _may_migrate(self, order: Migrate) -> None:
        self._operator.check_migrate(order)


def _check_carried(start: RawValue, state: RunState) -> None:
    """Refuse to carry on what Temporal would not take: the run would try it for ever."""
    size = len(start.payload.data) + len(to_json(state))
    if size > MAX_CARRIED_BYTES:
        raise LimitError(
            f"the run's definition, input and state have {size} bytes; a run carries at most"
            f" {MAX_CARRIED_BYTES}"
        )


def _info(error: SojournError) -> ErrorInfo:
    return ErrorInfo(code=error.code, message=error.message, step=error.path)


def _failure(info: ErrorInfo, *, aborted: bool) -> ApplicationError:
    details = [info.model_dump(mode="json", exclude_none=True), *([ABORTED] if aborted else [])]
    return ApplicationError(info.message, *details, type=info.code, non_retryable=True)
