"""parallel: all branches at once."""

from typing import Any

from temporalio import workflow

from workflows.execution import Execution
from workflows.frame import Frame

with workflow.unsafe.imports_passed_through():
    from schemas.run import StepState
    from schemas.steps import Branch, Parallel


async def run(run: Execution, step: Parallel, state: StepState, frame: Frame) -> dict[str, Any]:
    """Run every branch and wait for all; gives {branch name: last output}."""
    outputs: dict[str, Any] = {}

    async def branch(one: Branch) -> None:
        outputs[one.name] = await run.run_list(one.do, frame)

    await run.gather([branch(one) for one in step.branches], len(step.branches))
    return {one.name: outputs[one.name] for one in step.branches}
