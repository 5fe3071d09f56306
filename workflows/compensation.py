"""What a run still does once it has failed or was cancelled: compensate, then `on_failure`."""

from collections.abc import Sequence
from typing import Any

from temporalio import workflow

from workflows import undo
from workflows.execution import Execution
from workflows.frame import Frame
from workflows.unwinding import StopRun
from workflows.walk import run_list

with workflow.unsafe.imports_passed_through():
    from schemas.errors import SojournError
    from schemas.run import ErrorInfo, StepStatus, Undo
    from schemas.steps import Step


async def unwind(run: Execution, error: ErrorInfo | None) -> None:
    """Compensate what took effect, and after a failure run `on_failure`.

    Nothing delays it: a pause or a continue-as-new comes after. A compensation that fails stays
    in the record of its steps, and the others still run; so does a failure in `on_failure`.
    """
    run.recorder.unwinding = True
    undo.bring_back(run)
    due = undo.due(run)
    names = {"error": error.model_dump(mode="json") if error else None}
    steps = run.start.definition.on_failure if error is not None else []
    if due or steps:
        await run.recorder.flush()
    if run.recorder.ended is not None:
        return
    by_id = run.start.definition.by_id()
    for entry in due:
        await _undo(run, entry, by_id[entry.step].compensate, names)
    run.state.undo = []
    if steps:
        await _to_its_end(run, steps, Frame().naming(names), "on_failure")


async def _to_its_end(run: Execution, steps: Sequence[Step], frame: Frame, what: str) -> bool:
    """Run a list; False when it failed. A `stop` in it ends the list: the run ends anyway."""
    try:
        await run_list(run, steps, frame)
    except SojournError as failure:
        extra = {"what": what, "code": failure.code}
        workflow.logger.warning("a step list failed while the run unwound", extra=extra)
        return False
    except StopRun:
        return True
    return True


async def _undo(run: Execution, entry: Undo, steps: Sequence[Step], names: dict[str, Any]) -> None:
    frame = Frame.at(entry.prefix, {**entry.names, **names})
    if not await _to_its_end(run, steps, frame, f"the compensation of {entry.path}"):
        return
    state = run.state.steps.get(entry.path)
    if state is not None:
        state.status = StepStatus.COMPENSATED
        run.recorder.touch(entry.path)
