"""set: values for later steps."""

from typing import Any

from temporalio import workflow

from workflows.execution import Execution
from workflows.frame import Frame

with workflow.unsafe.imports_passed_through():
    from schemas.run import StepState
    from schemas.steps import SetVars


def run(run: Execution, step: SetVars, state: StepState, frame: Frame) -> dict[str, Any]:
    """Render all values over the old `vars`, then set them together; gives what was set."""
    values: dict[str, Any] = run.render(step.vars, frame)
    run.state.vars = {**run.state.vars, **values}
    return values
