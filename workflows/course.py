"""The course of a run: its steps, its goal beside them, and its output."""

import asyncio
from typing import Any

from temporalio import workflow

from workflows.batches import follow_batch
from workflows.execution import Execution
from workflows.frame import Frame
from workflows.goal import Goal
from workflows.tasks import cancel, first_done
from workflows.unwinding import StopRun
from workflows.walk import run_list

with workflow.unsafe.imports_passed_through():
    from schemas.definition import walk
    from schemas.events import view
    from schemas.run import MAX_RUN_OUTPUT_BYTES, StepStatus


async def follow(run: Execution) -> Any:
    """Walk the definition to its end and give the run's output; raises what the steps raise."""
    definition = run.start.definition
    if run.start.batch is not None:
        return await follow_batch(run, run.start.batch)
    frame = Frame()
    run.trunk = asyncio.current_task()
    try:
        if definition.goal is None:
            await run_list(run, definition.steps, frame)
        else:
            await _towards_goal(run, frame)
        await run.children.join()
    except StopRun as stop:
        await run.children.join()
        if stop.output is not None or definition.output is None:
            return _checked(run, stop.output)
    # A run without `output` gives nothing: the last step's result is no promise.
    if definition.output is None:
        return None
    return _checked(run, run.render(definition.output, frame))


def _checked(run: Execution, output: Any) -> Any:
    run.check_size(output, MAX_RUN_OUTPUT_BYTES, "the values of the run's output")
    return output


async def _towards_goal(run: Execution, frame: Frame) -> None:
    """Run the steps until their end or the goal's event, whichever comes first."""
    definition = run.start.definition
    if run.state.goal is None:
        goal = Goal(run, frame)
        await goal.open()
        steps = asyncio.create_task(_steps(run, frame))
        watching = asyncio.create_task(goal.watch())
        finished = await first_done([steps, watching])
        if steps in finished:
            await cancel([watching])
            return
        await cancel([steps])
    _leave_steps(run)
    reached = run.state.goal
    assert reached is not None, "the watch ends with the goal's event"
    await run_list(run, definition.on_goal, frame.naming({"event": view(reached)}))


def _leave_steps(run: Execution) -> None:
    """End the steps that a continue-as-new carried over after the goal was reached."""
    later = {step.id for _, step in walk(run.start.definition.on_goal)}
    for state in run.state.steps.values():
        if not state.status.done and state.id not in later:
            state.status, state.held = StepStatus.CANCELLED, False
            state.finished_at = workflow.now()
            run.recorder.touch(state.path)


async def _steps(run: Execution, frame: Frame) -> None:
    run.trunk = asyncio.current_task()
    await run_list(run, run.start.definition.steps, frame)
