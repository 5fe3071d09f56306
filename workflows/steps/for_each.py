"""for_each: the body once for every item."""

from typing import Any

from temporalio import workflow

from workflows.batches import Batches
from workflows.execution import Execution
from workflows.frame import Frame
from workflows.iterations import iterate, results
from workflows.tasks import gather
from workflows.walk import run_list

with workflow.unsafe.imports_passed_through():
    from schemas.errors import ExpressionError, LimitError
    from schemas.run import BATCHES_REVISION, StepState
    from schemas.steps import ForEach
    from schemas.steps_flow import MAX_INLINE_ITEMS, MAX_ITEMS


async def run(run: Execution, step: ForEach, state: StepState, frame: Frame) -> list[Any]:
    """Run `do` for each item, `concurrency` at once; gives the last outputs in item order.

    With `tolerate` it gives {index, status, output, error} of each item. Many items, or those of
    a step with `batch`, run in child runs; this step is then the child's one step as well.
    """
    batch = run.start.batch
    if batch is not None and step.id == run.start.definition.steps[0].id:
        return await iterate(
            run,
            step,
            state,
            frame,
            batch.items,
            offset=batch.offset,
            tolerated=batch.tolerated,
            lean=True,
        )
    if state.input is None:
        # Kept for a later entry after continue-as-new: the items must not change under the loop.
        state.input = _items(run.render(step.items, frame), run.start.revision)
    items: list[Any] = state.input
    tolerant = step.tolerate is not None
    if step.batch is not None or len(items) > MAX_INLINE_ITEMS:
        if step.join != "all":
            raise LimitError(
                f"'join: {step.join}' takes at most {MAX_INLINE_ITEMS} items, not {len(items)}"
            )
        outcomes = await Batches(run, step, state, frame, items).all()
        state.data = state.note = None
        return results([*outcomes], tolerant=tolerant)
    if step.join != "all" or tolerant:
        needed = {"all": None, "any": 1}.get(str(step.join), step.join)
        assert not isinstance(needed, str), "join is all, any or a number"
        tolerated = step.tolerated(len(items))
        outcomes = await iterate(run, step, state, frame, items, needed=needed, tolerated=tolerated)
        return results([*outcomes], tolerant=tolerant)
    return await _plain(run, step, frame, items)


async def _plain(run: Execution, step: ForEach, frame: Frame, items: list[Any]) -> list[Any]:
    outputs: list[Any] = [None] * len(items)

    async def iteration(index: int) -> None:
        names = {"item": items[index], step.as_: items[index], "index": index}
        inner = frame.iteration(step.id, index, names)
        outputs[index] = await run_list(run, step.do, inner)
        await run.recorder.rest()

    await gather([iteration(index) for index in range(len(items))], step.concurrency)
    return outputs


def _items(value: Any, revision: int) -> list[Any]:
    if not isinstance(value, list):
        kind = "null" if value is None else type(value).__name__
        raise ExpressionError(f"'items' must be a list, not {kind}")
    limit = MAX_ITEMS if revision >= BATCHES_REVISION else MAX_INLINE_ITEMS
    if len(value) > limit:
        raise LimitError(f"'items' has {len(value)} items; the limit is {limit}")
    return value
