"""Compensation: steps register what undoes them, and it runs in reverse order of completion.

The saga pattern (Garcia-Molina and Salem, 1987), with the order of completion over parallel
branches and, for `compensation: selective`, savepoints.
"""

from temporalio import workflow

from workflows.execution import Execution
from workflows.frame import Frame

with workflow.unsafe.imports_passed_through():
    from schemas.errors import ErrorCode
    from schemas.run import StepState, StepStatus, Undo
    from schemas.steps import Step

# Errors after which nobody knows whether the step has taken effect.
_IN_DOUBT = frozenset({ErrorCode.STEP_TIMEOUT, ErrorCode.TIMEOUT, ErrorCode.DELIVERY_UNKNOWN})


def register(run: Execution, step: Step, state: StepState, frame: Frame) -> None:
    """Note a step's compensation before its body starts."""
    if not step.compensate or any(entry.path == state.path for entry in run.state.undo):
        return
    entry = Undo(path=state.path, step=step.id, prefix=frame.prefix, names=frame.names)
    run.state.undo.append(entry)


def settle(run: Execution, step: Step, state: StepState) -> None:
    """Count a step's end: its compensation is due if it took effect, or may have."""
    took_effect = state.status == StepStatus.COMPLETED or (
        state.error is not None and state.error.code in _IN_DOUBT
    )
    entries = run.state.undo
    if step.compensate and took_effect:
        last = max((entry.order for entry in entries), default=0)
        for entry in entries:
            if entry.path == state.path and entry.order == 0:
                entry.order = last + 1
    completed = state.status == StepStatus.COMPLETED
    if step.savepoint and completed and run.start.definition.compensation == "selective":
        run.state.undo = [entry for entry in entries if entry.order == 0]


def due(run: Execution) -> list[Undo]:
    """Give the compensations that are due, the latest completion first."""
    entries = [entry for entry in run.state.undo if entry.order > 0]
    return sorted(entries, key=lambda entry: -entry.order)
