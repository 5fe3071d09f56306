"""parallel: all branches at once, until enough of them have succeeded."""

import asyncio
from typing import Any

from temporalio import workflow

from workflows.execution import Execution
from workflows.frame import Frame
from workflows.tasks import Task, cancel, first_done
from workflows.unwinding import Aborted
from workflows.walk import run_list

with workflow.unsafe.imports_passed_through():
    from schemas.errors import SojournError, StepError
    from schemas.run import StepState
    from schemas.steps import Branch, Parallel


async def run(run: Execution, step: Parallel, state: StepState, frame: Frame) -> dict[str, Any]:
    """Run the branches; gives {branch name: last output}, null where one has none.

    Raises the first failure, or StepError when too few branches can succeed.
    """
    # Kept for a later entry: which branches have come to their end, and how.
    outcomes: dict[str, Any] = state.data or {}
    state.data = outcomes
    needed = {"all": len(step.branches), "any": 1}.get(str(step.join), step.join)
    assert isinstance(needed, int), "join is all, any or a number"

    async def branch(one: Branch) -> None:
        try:
            outcomes[one.name] = {"output": await run_list(run, one.do, frame)}
        except SojournError as error:
            if step.on_branch_error == "fail" or isinstance(error, Aborted):
                raise
            outcomes[one.name] = {"error": str(error)}
        await run.recorder.rest()

    running: list[Task] = [
        asyncio.create_task(branch(one)) for one in step.branches if one.name not in outcomes
    ]
    bearable = len(step.branches) if step.join == "all" else len(step.branches) - needed
    while running and _succeeded(outcomes) < needed and _failed(outcomes) <= bearable:
        finished = await first_done(running)
        running = [task for task in running if task not in finished]
    await cancel(running)
    # After a continue-as-new the losers of a race that is over are not even begun again.
    run.end_open_steps(state.path)
    if step.join != "all" and _succeeded(outcomes) < needed:
        raise StepError(f"{_succeeded(outcomes)} branches succeeded; {needed} are needed")
    state.data = None
    return {one.name: outcomes.get(one.name, {}).get("output") for one in step.branches}


def _succeeded(outcomes: dict[str, Any]) -> int:
    return sum("output" in outcome for outcome in outcomes.values())


def _failed(outcomes: dict[str, Any]) -> int:
    return sum("error" in outcome for outcome in outcomes.values())
