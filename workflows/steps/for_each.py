"""for_each: the body once for every item."""

from typing import Any

from temporalio import workflow

from workflows.execution import Execution
from workflows.frame import Frame
from workflows.tasks import gather
from workflows.walk import run_list

with workflow.unsafe.imports_passed_through():
    from schemas.errors import ExpressionError, LimitError
    from schemas.run import StepState
    from schemas.steps import ForEach
    from schemas.steps_flow import MAX_INLINE_ITEMS


async def run(run: Execution, step: ForEach, state: StepState, frame: Frame) -> list[Any]:
    """Run `do` for each item, `concurrency` at once; gives the last outputs in item order."""
    if state.input is None:
        # Kept for a later entry after continue-as-new: the items must not change under the loop.
        state.input = _items(run.render(step.items, frame))
    items: list[Any] = state.input
    outputs: list[Any] = [None] * len(items)

    async def iteration(index: int) -> None:
        names = {"item": items[index], step.as_: items[index], "index": index}
        inner = frame.iteration(step.id, index, names)
        outputs[index] = await run_list(run, step.do, inner)

    await gather([iteration(index) for index in range(len(items))], step.concurrency)
    return outputs


def _items(value: Any) -> list[Any]:
    if not isinstance(value, list):
        kind = "null" if value is None else type(value).__name__
        raise ExpressionError(f"'items' must be a list, not {kind}")
    if len(value) > MAX_INLINE_ITEMS:
        raise LimitError(f"'items' has {len(value)} items; the limit is {MAX_INLINE_ITEMS}")
    return value
