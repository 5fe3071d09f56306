"""The walk over a definition: step lists as graphs, and each step from its guard to its end.

The walk is re-entrant: a step whose state is final is not run again, a timer keeps its deadline,
a loop finds its finished iterations. So continue-as-new needs nothing but the state, and so does
a run that an operator sends back.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from temporalio import workflow

from workflows import stretch, undo
from workflows.execution import Execution, Line
from workflows.frame import Frame
from workflows.holding import hold
from workflows.tasks import Task, first_done
from workflows.unwinding import Aborted, RunFailed, StopRun

with workflow.unsafe.imports_passed_through():
    from schemas.errors import SojournError
    from schemas.graph import dependencies
    from schemas.run import CANCEL_REVISION, ENDINGS_REVISION, ErrorInfo, StepState, StepStatus
    from schemas.steps import Condition, Step


async def run_list(run: Execution, steps: Sequence[Step], frame: Frame) -> Any:
    """Run a step list as a DAG; gives the output of the last step that has one."""
    waits_for = dependencies(steps)
    straight = stretch.is_straight(run, waits_for)
    pending = list(steps)
    running: list[Task] = []
    done: set[str] = set()
    ids: dict[Task, str] = {}
    while pending or running:
        ready: list[Step] = []
        blocked: list[Step] = []
        for step in pending:
            (ready if done.issuperset(waits_for[step.id]) else blocked).append(step)
        pending = blocked
        if len(ready) == 1 and not running:
            # The common straight line needs no task of its own.
            run.line = Line(ready[0], frame, pending) if straight else None
            await run_one(run, ready[0], frame)
            done.add(ready[0].id)
            continue
        for step in ready:
            task = asyncio.create_task(_beside(run, step, frame))
            ids[task] = step.id
            running.append(task)
        try:
            finished = await first_done(running)
        except (SojournError, asyncio.CancelledError):
            _end_neighbours(run, steps, frame)
            raise
        running = [task for task in running if task not in finished]
        done.update(ids[task] for task in finished)
    return last_output(run, steps, frame)


def _end_neighbours(run: Execution, steps: Sequence[Step], frame: Frame) -> None:
    """End what stands open in a list that has failed or was cancelled; see `end_with`."""
    if run.start.revision < ENDINGS_REVISION:
        return
    for step in steps:
        state = run.state.steps.get(frame.path(step.id))
        if state is not None and not state.status.done:
            _cut_off(run, state)


async def _beside(run: Execution, step: Step, frame: Frame) -> None:
    await run_one(run, step, frame)
    await run.recorder.rest()


def last_output(run: Execution, steps: Sequence[Step], frame: Frame) -> Any:
    """Give the output of the last step of a list that completed, or was skipped with one."""
    for step in reversed(steps):
        state = run.state.steps.get(frame.path(step.id))
        if state is None:
            continue
        if state.status == StepStatus.COMPLETED or state.output is not None:
            return state.output
    return None


async def run_one(run: Execution, step: Step, frame: Frame) -> None:
    """Run one step to its end: guard, body, output, and what its error does."""
    path = frame.path(step.id)
    state = run.state.steps.get(path)
    if state is not None and state.status.done:
        return
    begun = state is not None and state.status != StepStatus.PENDING
    ahead = run.ahead.get(path)
    try:
        if ahead is None:
            await run.gate(begun=begun)
    except asyncio.CancelledError:
        if state is not None:
            _cut_off(run, state)
        raise
    if state is None:
        state = StepState(path=path, id=step.id, type=step.type, title=step.title)
        state.round = run.state.rounds
        state.started_at = workflow.now() if ahead is None else ahead.started_at
        run.state.steps[path] = state
    run.recorder.touch(path)
    try:
        await _attempt(run, step, state, frame)
    except StopRun:
        # The stop itself, and the steps around it: they are at their end with the run.
        state.status = StepStatus.COMPLETED
        state.finished_at = workflow.now()
        raise
    except asyncio.CancelledError:
        _cut_off(run, state)
        raise
    finally:
        run.recorder.touch(path)
    state.finished_at = run.ended.pop(path, None) or workflow.now()
    undo.settle(run, step, state)
    if run.ahead:
        # The steps after it have run, whatever came meanwhile: it is heeded behind them.
        return
    # A cancel that came while an activity was finishing well would be lost otherwise.
    _heed_cancel(run)


def _heed_cancel(run: Execution) -> None:
    if _is_cancelled() or (workflow.cancellation_reason() is not None and not run.unwinding):
        raise asyncio.CancelledError


def _is_cancelled() -> bool:
    """True once this task was told to stop: the loser of a race, a neighbour of a failure."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _cut_off(run: Execution, state: StepState) -> None:
    state.status = StepStatus.CANCELLED
    state.finished_at = workflow.now()
    state.held = False
    run.recorder.touch(state.path)
    run.end_with(state.path)


async def _passes(run: Execution, step: Step, state: StepState, frame: Frame) -> bool:
    # A condition's `if` is its verdict; and a step that had begun has passed its guard.
    if step.if_ is None or isinstance(step, Condition):
        return True
    if state.status != StepStatus.PENDING:
        return True
    return await run.verdict(step.if_, frame, f"{state.path}.if", f"if {step.if_}")


async def _attempt(run: Execution, step: Step, state: StepState, frame: Frame) -> None:
    """Run guard and body until they succeed, or their error is dealt with; raises RunFailed."""
    while True:
        if state.error is None:
            try:
                if not await _passes(run, step, state, frame):
                    state.status = StepStatus.SKIPPED
                    return None
                return await _body(run, step, state, frame)
            except SojournError as error:
                run.ahead, run.ended = {}, {}
                _keep_error(state, error)
                undo.failed(run, state)
                run.end_with(state.path)
                if isinstance(error, Aborted):
                    _fail(state)
                    raise
        if not await _recovers(run, step, state, frame):
            return None


async def _recovers(run: Execution, step: Step, state: StepState, frame: Frame) -> bool:
    """Do what the step's error asks for; true if the step is to be tried again."""
    assert state.error is not None, "what failed has an error"
    does = step.error_action(state.error.code)
    if does == "continue":
        _fail(state)
        return False
    if isinstance(does, str) and does != "pause":
        _fail(state)
        raise RunFailed(state.error)
    if run.start.revision >= CANCEL_REVISION:
        # A cancel that met the failing activity: nobody is asked, and no fallback begins.
        _heed_cancel(run)
    if not isinstance(does, str):
        await _fall_back(run, does, state, frame)
        return False
    if not await hold(run, state):
        return False
    # A paused run starts nothing, this step neither.
    await run.gate()
    return True


def _keep_error(state: StepState, error: SojournError) -> None:
    """Keep a step's error; an error that comes from a step inside keeps its own place."""
    inner = error.error if isinstance(error, RunFailed) else None
    if inner is not None and inner.step and inner.step.startswith(f"{state.path}."):
        # Its guard's or its subscription's: no step is named `send.if`.
        inner = inner.model_copy(update={"step": state.path})
    state.error = inner or ErrorInfo(code=error.code, message=error.message, step=state.path)
    state.note = state.until = None


def _fail(state: StepState) -> None:
    state.status = StepStatus.FAILED
    state.finished_at = workflow.now()


async def _fall_back(run: Execution, steps: Sequence[Step], state: StepState, frame: Frame) -> None:
    assert state.error is not None, "a fallback has an error"
    state.status = StepStatus.RUNNING
    inner = frame.naming({"error": state.error.model_dump(mode="json")})
    try:
        state.output = await run_list(run, steps, inner)
        run.keep(state)
    except SojournError as error:
        _keep_error(state, error)
        # The fallback stands for the step: what it may have done is the step's to undo.
        undo.failed(run, state)
        _fail(state)
        if isinstance(error, Aborted):
            raise
        raise RunFailed(state.error) from error
    state.status = StepStatus.COMPLETED


async def _body(run: Execution, step: Step, state: StepState, frame: Frame) -> None:
    if state.status == StepStatus.PENDING:
        state.status = StepStatus.RUNNING
        undo.register(run, step, state, frame)
    output = await run.run_step(run, step, state, frame)
    # Also when what follows fails: an output too large does not unsend a mail.
    undo.completed(run, step, state)
    state.output = output
    state.status = StepStatus.COMPLETED
    state.note = state.until = None
    if step.output is not None:
        state.output = run.render(step.output, frame)
    run.keep(state)
