"""switch: the first case that matches."""

from typing import Any

from temporalio import workflow

from workflows.execution import Execution
from workflows.frame import Frame
from workflows.walk import run_list

with workflow.unsafe.imports_passed_through():
    from schemas import expressions
    from schemas.run import StepState
    from schemas.steps import Switch


async def run(run: Execution, step: Switch, state: StepState, frame: Frame) -> Any:
    """Choose a case once and run it, else `default`; gives the last output of what ran."""
    if state.choice is None:
        index = await _choose(run, step, state, frame)
        state.choice = "default" if index < 0 else str(index)
        run.recorder.touch(state.path)
    taken = step.default if state.choice == "default" else step.cases[int(state.choice)].do
    return await run_list(run, taken, frame)


async def _choose(run: Execution, step: Switch, state: StepState, frame: Frame) -> int:
    cases: list[dict[str, Any]] = []
    sources = [step.on] if step.on is not None else []
    for case in step.cases:
        if case.if_ is not None:
            cases.append({"if": case.if_})
            sources.append(case.if_)
        else:
            cases.append({"is": run.render(case.is_, frame)})
    references = [
        chain for source in sources for chain in expressions.expression_references(source)
    ]
    scope = run.scope(references, frame)
    summary = step.title or f"switch on {step.on}"
    return await run.local("choose", [step.on, cases, scope], state.path, summary)
