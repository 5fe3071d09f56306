"""fail and stop: steps that end the run."""

from typing import Never

from temporalio import workflow

from workflows.execution import Execution
from workflows.frame import Frame
from workflows.unwinding import StopRun

with workflow.unsafe.imports_passed_through():
    from schemas.errors import StepError
    from schemas.run import StepState
    from schemas.steps import Fail, Stop


def fail(run: Execution, step: Fail, state: StepState, frame: Frame) -> Never:
    """Fail the run with the step's code and message."""
    raise StepError(str(run.render(step.message, frame)), code=step.code)


def stop(run: Execution, step: Stop, state: StepState, frame: Frame) -> Never:
    """Complete the run at once with the step's `output`."""
    raise StopRun(run.render(step.output, frame))
