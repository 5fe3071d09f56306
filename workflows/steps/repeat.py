"""repeat: the body again and again, while a verdict holds or until one does."""

from typing import Any

from temporalio import workflow

from workflows.execution import Execution
from workflows.frame import Frame
from workflows.unwinding import RunFailed
from workflows.walk import run_list

with workflow.unsafe.imports_passed_through():
    from schemas.errors import LimitError
    from schemas.run import StepState, StepStatus
    from schemas.steps import Repeat


async def run(run: Execution, step: Repeat, state: StepState, frame: Frame) -> Any:
    """Run the iterations; gives the last one's last output, null when there was none.

    Only the latest iteration's steps stay in the state, so that a loop of thousands can continue
    as new in its midst. Raises LimitError when `max` iterations did not end it.
    """
    progress: dict[str, Any] = state.data or {"index": 0, "output": None, "judged": False}
    state.data = progress
    while True:
        index: int = progress["index"]
        inner = frame.iteration(step.id, index, {"index": index})
        if not progress["judged"]:
            if step.while_ is not None and not await _holds(run, step, state, frame, index):
                break
            if index >= step.max:
                raise LimitError(f"the loop did not end within {step.max} iterations")
            progress["judged"] = True
            if step.every is not None:
                state.until = run.after(step.every)
        progress["output"] = await run_list(run, step.do, inner)
        if step.until is not None:
            path = f"{state.path}[{index}].until"
            summary = f"until {step.until}"
            if await _judge(run, state, step.until, inner, path, summary):
                break
        if state.until is not None and index + 1 < step.max:
            await run.waiting(state, f"sleeps until iteration {index + 1}")
            await run.wait(lambda: False, state.until, f"{step.id}: every {step.every}")
            state.status = StepStatus.RUNNING
        if index > 0:
            run.leave(f"{frame.prefix}{step.id}[{index - 1}].")
        progress.update(index=index + 1, judged=False)
    state.data = None
    return progress["output"]


async def _holds(run: Execution, step: Repeat, state: StepState, frame: Frame, index: int) -> bool:
    """Judge `while` over the results of the iteration before this one."""
    assert step.while_ is not None, "only a while loop is judged before its iterations"
    before = frame.iteration(step.id, max(index - 1, 0), {"index": index})
    path = f"{state.path}[{index}].while"
    return await _judge(run, state, step.while_, before, path, f"while {step.while_}")


async def _judge(
    run: Execution, state: StepState, source: str, frame: Frame, path: str, summary: str
) -> bool:
    try:
        return await run.verdict(source, frame, path, summary)
    except RunFailed as error:
        # The loop's own error: no step is named `each[0].until`.
        raise RunFailed(error.error.model_copy(update={"step": state.path})) from error
