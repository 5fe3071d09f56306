"""split: each key goes to one variant, for ever."""

from typing import Any

from temporalio import workflow

from workflows.execution import Execution
from workflows.frame import Frame
from workflows.walk import run_list

with workflow.unsafe.imports_passed_through():
    from schemas.expressions import as_text
    from schemas.run import StepState
    from schemas.steps import Split


async def run(run: Execution, step: Split, state: StepState, frame: Frame) -> dict[str, Any]:
    """Assign the key's variant once and run its steps; gives {variant, output}."""
    if state.choice is None:
        key = as_text(run.render(step.key, frame))
        state.input = {"key": key}
        weights = [[variant.name, variant.weight] for variant in step.variants]
        salt = f"{run.start.workspace}/{run.start.definition.name}/{step.id}"
        args = [salt, key, weights, step.holdout]
        state.choice = await run.local("assign", args, state.path, step.title or "split")
        run.state.variants[state.path] = str(state.choice)
        run.recorder.touch(state.path)
    taken = next((one.do for one in step.variants if one.name == state.choice), [])
    return {"variant": state.choice, "output": await run_list(run, taken, frame)}
