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


async def run(run: Execution, step: Delay, state: StepState, frame: Frame) -> None:
    """Sleep until the deadline, which is fixed when the step begins."""
    if state.until is None:
        state.until = run.after(_length(run, step, frame))
    note = f"sleeps for {format_duration(step.for_)}" if step.for_ else f"sleeps until {step.until}"
    await run.waiting(state, note)
    await run.wait(lambda: False, state.until, step.title or f"{step.id}: {note}")


def _length(run: Execution, step: Delay, frame: Frame) -> timedelta:
    if step.for_ is not None:
        return step.for_
    assert step.until is not None, "the model asks for one of the two"
    moment = run.evaluate(step.until, frame)
    if not isinstance(moment, datetime):
        raise ExpressionError(f"'until' must be a timestamp, not {type(moment).__name__}")
    return max(moment - workflow.now(), timedelta(0))
