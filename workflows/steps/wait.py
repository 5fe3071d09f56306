"""wait: a signal from outside, also one that came since the run started."""

from typing import Any

from temporalio import workflow

from workflows.execution import Execution
from workflows.frame import Frame
from workflows.walk import run_list

with workflow.unsafe.imports_passed_through():
    from schemas.durations import format_duration
    from schemas.errors import ErrorCode, StepError
    from schemas.run import StepState
    from schemas.steps import Wait


async def run(run: Execution, step: Wait, state: StepState, frame: Frame) -> Any:
    """Take the oldest signal of this name from the mailbox; gives its data.

    Raises StepError (STEP_TIMEOUT) when none comes in time, unless `on_timeout` is `continue`.
    """
    if step.timeout is not None and state.until is None:
        state.until = run.after(step.timeout)

    assert step.signal is not None, "events are refused at publish"
    signal = step.signal

    def arrived() -> bool:
        return bool(run.state.mailbox.get(signal))

    if not arrived():
        limit = f", at most {format_duration(step.timeout)}" if step.timeout else ""
        await run.waiting(state, f"waits for the signal {step.signal!r}{limit}")
    summary = step.title or f"{step.id}: signal {step.signal}"
    if await run.wait(arrived, state.until, summary):
        box = run.state.mailbox[signal]
        data = box.pop(0)
        if not box:
            del run.state.mailbox[signal]
        return data
    if step.on_timeout == "continue":
        return None
    if isinstance(step.on_timeout, list):
        return await run_list(run, step.on_timeout, frame)
    assert step.timeout is not None, "without a timeout the wait has no end but a signal"
    raise StepError(
        f"no signal {step.signal!r} came within {format_duration(step.timeout)}",
        code=ErrorCode.STEP_TIMEOUT,
    )
