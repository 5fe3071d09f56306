"""Compensation: steps register what undoes them, and it runs in reverse order of completion.

The saga pattern (Garcia-Molina and Salem, 1987), with the order of completion over parallel
branches and, for `compensation: selective`, savepoints.
"""

from temporalio import workflow

from workflows.execution import Execution
from workflows.frame import Frame

with workflow.unsafe.imports_passed_through():
    from schemas.errors import ErrorCode
    from schemas.run import RECOVERY_REVISION, StepState, StepStatus, Undo
    from schemas.steps import ActionStep, Step

# Errors after which nobody knows whether the step has taken effect.
_IN_DOUBT = frozenset({ErrorCode.STEP_TIMEOUT, ErrorCode.TIMEOUT, ErrorCode.DELIVERY_UNKNOWN})
# What they wait for did not come: that has no effect.
_IDLE = frozenset({"wait", "approval"})


def register(run: Execution, step: Step, state: StepState, frame: Frame) -> None:
    """Note a step's compensation before its body starts."""
    if not step.compensate:
        return
    for entry in run.state.undo:
        if entry.path == state.path:
            if run.start.revision >= RECOVERY_REVISION:
                entry.again = frame.names
            return
    entry = Undo(path=state.path, step=step.id, prefix=frame.prefix, names=frame.names)
    run.state.undo.append(entry)


def took_effect(run: Execution, state: StepState) -> None:
    """Count a step's effect: from now on its compensation is due, before all others."""
    entries = run.state.undo
    for entry in entries:
        if entry.path == state.path:
            last = max((other.order for other in entries if other is not entry), default=0)
            entry.order = last + 1
            if entry.again is not None:
                entry.names, entry.again = entry.again, None
            run.drop_kept(entry)


def completed(run: Execution, step: Step, state: StepState) -> None:
    """Count the effect of a step that is done; an action's is counted when its result comes.

    One that its fallback completed counts from then: it is undone before what the fallback did.
    """
    if not step.compensate:
        return
    counted = any(entry.path == state.path and entry.order for entry in run.state.undo)
    recovered = state.error is not None and run.start.revision >= RECOVERY_REVISION
    if recovered or not (counted and isinstance(step, ActionStep)):
        took_effect(run, state)


def failed(run: Execution, state: StepState) -> None:
    """Count a failure after which the step may have taken effect."""
    error = state.error
    if error is None or error.code not in _IN_DOUBT:
        return
    source = run.state.steps.get(error.step or state.path, state)
    if source.type not in _IDLE:
        took_effect(run, state)


def settle(run: Execution, step: Step, state: StepState) -> None:
    """Count a step's end: the order of compensation is that of completion."""
    if state.status != StepStatus.COMPLETED:
        return
    completed(run, step, state)
    if step.savepoint and run.start.definition.compensation == "selective":
        for entry in run.state.undo:
            other = run.state.steps.get(entry.path)
            if other is not None and not other.status.done:
                # In doubt, and in its fallback: it counts again when it completes.
                entry.order = 0
        for entry in run.state.undo:
            run.drop_kept(entry)
        run.state.undo = [entry for entry in run.state.undo if entry.order == 0]


def bring_back(run: Execution) -> None:
    """Put back what compensations undo of steps that ran again without effect, or not at all."""
    for entry in run.state.undo:
        if entry.kept is None:
            continue
        state = run.state.steps.setdefault(entry.path, entry.kept)
        if state.output is None:
            state.output = entry.kept.output
        entry.kept = None


def due(run: Execution) -> list[Undo]:
    """Give the compensations that are due, the latest completion first."""
    entries = [entry for entry in run.state.undo if entry.order > 0]
    return sorted(entries, key=lambda entry: -entry.order)
