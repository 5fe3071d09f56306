"""The course of a run: its steps, its goal beside them, and its output."""

import asyncio
from typing import Any

from temporalio import workflow

from workflows.execution import Execution
from workflows.frame import Frame
from workflows.goal import watch
from workflows.tasks import cancel, first_done
from workflows.unwinding import StopRun
from workflows.walk import run_list

with workflow.unsafe.imports_passed_through():
    from schemas.run import Event


async def follow(run: Execution) -> Any:
    """Walk the definition to its end and give the run's output; raises what the steps raise."""
    definition = run.start.definition
    frame = Frame()
    try:
        if definition.goal is None:
            await run_list(run, definition.steps, frame)
        else:
            await _towards_goal(run, frame)
    except StopRun as stop:
        if stop.output is not None or definition.output is None:
            return stop.output
    # A run without `output` gives nothing: the last step's result is no promise.
    return run.render(definition.output, frame) if definition.output is not None else None


async def _towards_goal(run: Execution, frame: Frame) -> None:
    """Run the steps until their end or the goal's event, whichever comes first."""
    definition = run.start.definition
    if run.state.goal is None:
        steps = asyncio.create_task(_steps(run, frame))
        goal = asyncio.create_task(watch(run, frame))
        finished = await first_done([steps, goal])
        if steps in finished:
            await cancel([goal])
            return
        await cancel([steps])
    reached: Event | None = run.state.goal
    assert reached is not None, "the watch ends with the goal's event"
    inner = frame.naming({"event": reached.model_dump(mode="json")})
    await run_list(run, definition.on_goal, inner)


async def _steps(run: Execution, frame: Frame) -> None:
    await run_list(run, run.start.definition.steps, frame)
