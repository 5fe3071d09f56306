"""delay: a durable timer."""

from datetime import datetime, timedelta

from temporalio import workflow

from workflows.execution import Execution
from workflows.frame import Frame

with workflow.unsafe.imports_passed_through():
    from schemas.durations import format_duration
    from schemas.errors import ExpressionError
    from schemas.run import StepState
    from schemas.steps import Delay
    from schemas.steps_wait import Window
    from schemas.windows import describe

OPENING = "opening"


async def run(run: Execution, step: Delay, state: StepState, frame: Frame) -> None:
    """Sleep until the deadline, which is fixed when the step begins."""
    if state.until is None:
        length = _length(run, step, frame)
        if step.window is not None:
            length = await _into(run, step.window, length, state, frame)
        state.until = run.after(length)
    note = _note(step, state)
    await run.waiting(state, note)
    await run.wait(lambda: False, state.until, step.title or f"{step.id}: {note}")


def _length(run: Execution, step: Delay, frame: Frame) -> timedelta:
    if step.for_ is not None:
        return step.for_
    if step.until is None:
        return timedelta(0)
    moment = run.evaluate(step.until, frame)
    if not isinstance(moment, datetime):
        raise ExpressionError(f"'until' must be a timestamp, not {type(moment).__name__}")
    return max(moment - workflow.now(), timedelta(0))


async def _into(
    run: Execution, window: Window, length: timedelta, state: StepState, frame: Frame
) -> timedelta:
    """Lengthen a delay until its window is open.

    On another timescale the wait for the window is divided as every timer is.
    """
    name = run.start.definition.timezone if window.timezone is None else window.timezone
    zone = run.render(name, frame)
    if not isinstance(zone, str):
        raise ExpressionError(f"'timezone' must be a text, not {type(zone).__name__}")
    now = workflow.now()
    given = window.model_dump(mode="json", by_alias=True, exclude={"timezone"})
    args = [given, zone, (now + length).isoformat()]
    opening = await run.local(OPENING, args, state.path, f"the window's opening in {zone[:60]}")
    state.data = {"window": describe(window, zone)}
    return datetime.fromisoformat(opening) - now


def _note(step: Delay, state: StepState) -> str:
    window = f" {state.data['window']}" if state.data else ""
    if step.for_ is not None:
        base = f"sleeps for {format_duration(step.for_)}"
        return f"{base}, then for the window{window}" if window else base
    if step.until is not None:
        base = f"sleeps until {step.until}"
        return f"{base}, then for the window{window}" if window else base
    return f"sleeps until the window{window} is open"
