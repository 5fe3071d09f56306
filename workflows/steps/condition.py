"""condition: a CEL verdict or a named check chooses the way."""

from typing import Any

from temporalio import workflow

from workflows.execution import Execution
from workflows.frame import Frame
from workflows.walk import run_list

with workflow.unsafe.imports_passed_through():
    from schemas.run import StepState
    from schemas.steps import Condition


async def run(run: Execution, step: Condition, state: StepState, frame: Frame) -> bool:
    """Take the verdict once, then run `then` or `else`; gives the verdict."""
    if state.choice is None:
        verdict = await _verdict(run, step, state, frame)
        state.choice = "then" if verdict else "else"
        run.recorder.touch(state.path)
    chosen = state.choice == "then"
    await run_list(run, step.then if chosen else step.else_, frame)
    return chosen


async def _verdict(run: Execution, step: Condition, state: StepState, frame: Frame) -> bool:
    if step.if_ is not None:
        return await run.verdict(step.if_, frame, state.path, step.title or f"if {step.if_}")
    params: dict[str, Any] = run.render(step.with_, frame)
    state.input = params
    context = run.context(state.path).model_dump(mode="json", exclude_defaults=True)
    context["input"] = run.start.input
    context["lead"] = run.start.lead.model_dump(mode="json") if run.start.lead else None
    context["started_at"] = run.state.started_at.isoformat()
    return await run.local(
        "check",
        [step.check, params, context],
        state.path,
        step.title or f"check {step.check}",
    )
