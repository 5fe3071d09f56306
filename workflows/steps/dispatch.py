"""From a step's class to the function that runs it; the checker names a kind without one."""

from typing import Any, assert_never

from temporalio import workflow

from workflows.execution import Execution
from workflows.frame import Frame
from workflows.steps import (
    action,
    agent,
    approval,
    condition,
    delay,
    ending,
    for_each,
    parallel,
    repeat,
    split,
    sub_run,
    switch,
    wait,
)
from workflows.steps import vars as set_vars

with workflow.unsafe.imports_passed_through():
    from schemas.run import StepState
    from schemas.steps import (
        ActionStep,
        Agent,
        Approval,
        Condition,
        Delay,
        Fail,
        ForEach,
        Parallel,
        Repeat,
        SetVars,
        Split,
        Step,
        Stop,
        SubRun,
        Switch,
        Wait,
    )


async def run_step(run: Execution, step: Step, state: StepState, frame: Frame) -> Any:
    """Run a step's body and give its output; raises SojournError when it fails."""
    match step:
        case ActionStep():
            return await action.run(run, step, state, frame)
        case Condition():
            return await condition.run(run, step, state, frame)
        case Switch():
            return await switch.run(run, step, state, frame)
        case Parallel():
            return await parallel.run(run, step, state, frame)
        case Split():
            return await split.run(run, step, state, frame)
        case Repeat():
            return await repeat.run(run, step, state, frame)
        case ForEach():
            return await for_each.run(run, step, state, frame)
        case Delay():
            return await delay.run(run, step, state, frame)
        case Wait():
            return await wait.run(run, step, state, frame)
        case Approval():
            return await approval.run(run, step, state, frame)
        case Agent():
            return await agent.run(run, step, state, frame)
        case SetVars():
            return set_vars.run(run, step, state, frame)
        case Fail():
            return ending.fail(run, step, state, frame)
        case Stop():
            return ending.stop(run, step, state, frame)
        case SubRun():
            return await sub_run.run(run, step, state, frame)
        case _:
            assert_never(step)
