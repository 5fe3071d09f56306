"""workflow: another definition as a run of its own."""

from typing import Any

from temporalio import workflow

from workflows.children import begin, child_id, end_of
from workflows.execution import Execution
from workflows.frame import Frame
from workflows.unwinding import RunFailed

with workflow.unsafe.imports_passed_through():
    from schemas.errors import LimitError
    from schemas.run import MAX_RUN_DEPTH, RunStart, StepState, StepStatus
    from schemas.steps import SubRun


async def run(run: Execution, step: SubRun, state: StepState, frame: Frame) -> Any:
    """Start the run and do as `mode` and `depends` say; gives the child's output if awaited.

    Raises LimitError when runs nest too deep, and the errors of opening the run: a definition,
    a version that may not be started, an input that does not fit.
    """
    depth = run.start.depth + 1
    if depth > MAX_RUN_DEPTH:
        raise LimitError(f"runs start runs {depth} deep; the limit is {MAX_RUN_DEPTH}")
    waits = step.mode == "wait" and step.depends != "parallel"
    if not waits:
        run.children.check_room()
    state.input = given = run.render(step.input, frame)
    state.attempts += 1
    start, priority = await _open(run, step, state, given, depth)
    if waits:
        await run.waiting(state, f"waits for the run {start.run_id} of {step.definition}")
    # Nothing is awaited between a child's start and the wait for its end: a cancel would miss it.
    detached = step.mode == "detach"
    summary = f"{step.definition} v{start.version}"
    handle = await begin(start, summary=summary, priority=priority, detached=detached)
    if not waits:
        (run.children.leave if detached else run.children.follow)(handle, start.run_id, state.path)
        return {"run_id": start.run_id}
    end = await end_of(handle, start.run_id, state.path)
    state.status, state.note = StepStatus.RUNNING, None
    if step.depends == "conditional":
        error = end.error.model_dump(mode="json") if end.error else None
        return {
            "run_id": start.run_id,
            "status": end.status.value,
            "output": end.output,
            "error": error,
        }
    if end.error is not None:
        raise RunFailed(end.error)
    return end.output


async def _open(
    run: Execution, step: SubRun, state: StepState, given: dict[str, Any], depth: int
) -> tuple[RunStart, int]:
    """Make the child's row and its start."""
    above = run.start
    request = {
        "workspace": above.workspace,
        "run_id": child_id(run, state),
        "definition": step.definition,
        "version": step.version,
        "parent": above.run_id,
        "path": state.path,
        "detached": step.mode == "detach",
        "input": given,
        "lead_id": above.lead.id if above.lead else None,
        "correlation_id": above.correlation_id,
    }
    opened = await run.local(
        "open_run", [request], f"{state.path}.open", f"open a run of {step.definition}"
    )
    start = RunStart(
        run_id=request["run_id"],
        workspace=above.workspace,
        definition=opened["definition"],
        version=opened["version"],
        input=given,
        lead=above.lead,
        correlation_id=above.correlation_id,
        timescale=above.timescale,
        history_limit=above.history_limit,
        timeouts=above.timeouts,
        revision=above.revision,
        parent=above.run_id,
        depth=depth,
    )
    return start, opened["priority"]
