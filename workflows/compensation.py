"""What a run still does once it has failed or was cancelled: compensate, then `on_failure`."""

from typing import Any

from temporalio import workflow

from workflows import undo
from workflows.execution import Execution
from workflows.frame import Frame
from workflows.walk import run_list

with workflow.unsafe.imports_passed_through():
    from schemas.errors import SojournError
    from schemas.run import ErrorInfo, StepStatus, Undo


async def unwind(run: Execution, error: ErrorInfo | None) -> None:
    """Compensate what took effect, and after a failure run `on_failure`.

    Nothing delays it: a pause or a continue-as-new comes after. A compensation that fails stays
    in the record of its steps, and the others still run; so does a failure in `on_failure`.
    """
    run.recorder.unwinding = True
    due = undo.due(run)
    names = {"error": error.model_dump(mode="json") if error else None}
    if due:
        await run.recorder.flush()
    for entry in due:
        await _undo(run, entry, names)
    run.state.undo = []
    steps = run.start.definition.on_failure
    if error is not None and steps:
        try:
            await run_list(run, steps, Frame().naming(names))
        except SojournError as failure:
            workflow.logger.warning("on_failure failed", extra={"code": failure.code})


async def _undo(run: Execution, entry: Undo, names: dict[str, Any]) -> None:
    frame = Frame.at(entry.prefix, {**entry.names, **names})
    by_id = {step.id: step for _, step in run.start.definition.walk()}
    try:
        await run_list(run, by_id[entry.step].compensate, frame)
    except SojournError as failure:
        extra = {"step": entry.path, "code": failure.code}
        workflow.logger.warning("compensation failed", extra=extra)
        return
    state = run.state.steps.get(entry.path)
    if state is not None:
        state.status = StepStatus.COMPENSATED
        run.recorder.touch(entry.path)
