"""Iterations of a loop whose outcomes are kept one by one: some may fail, or enough may succeed."""

import asyncio
from typing import Any

from temporalio import workflow

from workflows.execution import Execution
from workflows.frame import Frame
from workflows.tasks import Task, cancel, first_done
from workflows.unwinding import Aborted, RunFailed
from workflows.walk import run_list

with workflow.unsafe.imports_passed_through():
    from schemas.errors import ErrorCode, SojournError, StepError
    from schemas.run import ErrorInfo, StepState
    from schemas.steps import ForEach

# In a batch, after so many items their steps are recorded: nobody keeps them any longer.
_FLUSH_EVERY = 50

Outcome = dict[str, Any]


async def iterate(
    run: Execution,
    step: ForEach,
    state: StepState,
    frame: Frame,
    items: list[Any],
    *,
    offset: int = 0,
    needed: int | None = None,
    tolerated: int | None = None,
    lean: bool = False,
) -> list[Outcome | None]:
    """Run `do` for each item; gives {output} or {error} of each, None for one that was cancelled.

    Ends when `needed` items have succeeded; raises RunFailed when too few can, when more than
    `tolerated` failed, or without either at the first failure. `lean` forgets an item's steps.
    """
    # Kept for a later entry: which items have come to their end, and how.
    outcomes: dict[str, Outcome] = state.data or {}
    state.data = outcomes
    if needed is not None and needed > len(items):
        raise StepError(f"{needed} items are to succeed; there are {len(items)}")
    bearable = tolerated if needed is None else len(items) - needed

    async def iteration(place: int) -> None:
        index = offset + place
        names = {"item": items[place], step.as_: items[place], "index": index}
        inner = frame.iteration(step.id, index, names)
        try:
            outcome: Outcome = {"output": await run_list(run, step.do, inner)}
        except SojournError as error:
            if bearable is None or isinstance(error, Aborted):
                raise
            info = _info(error)
            outcome = {"error": info.model_dump(mode="json", exclude_none=True)}
            failed = 1 + sum("error" in other for other in outcomes.values())
            if failed > bearable:
                raise RunFailed(too_many(failed, bearable, info)) from error
        outcomes[str(place)] = outcome
        if lean:
            run.leave(inner.prefix)
            if len(outcomes) % _FLUSH_EVERY == 0:
                await run.recorder.flush()
        await run.recorder.rest()

    waiting = [place for place in range(len(items)) if str(place) not in outcomes]
    running: list[Task] = []
    while (waiting or running) and (needed is None or _succeeded(outcomes) < needed):
        while waiting and len(running) < step.concurrency:
            running.append(asyncio.create_task(iteration(waiting.pop(0))))
        finished = await first_done(running)
        running = [task for task in running if task not in finished]
    await cancel(running)
    run.end_open_steps(state.path)
    state.data = None
    return [outcomes.get(str(place)) for place in range(len(items))]


def too_many(failed: int, tolerated: int, last: ErrorInfo) -> ErrorInfo:
    """Give the error of a loop in which more items failed than it bears."""
    if tolerated == 0:
        return last
    message = f"{failed} items failed, {tolerated} may; the last: {last.message}"
    return last.model_copy(update={"message": message})


def results(outcomes: list[Outcome | None], *, tolerant: bool) -> list[Any]:
    """Give a loop's output: the items' outputs or, where some may fail, how each item ended."""
    if not tolerant:
        return [outcome.get("output") if outcome else None for outcome in outcomes]
    return [_result(index, outcome or {}) for index, outcome in enumerate(outcomes)]


def _result(index: int, outcome: Outcome) -> dict[str, Any]:
    error = outcome.get("error")
    status = "failed" if error else "completed"
    return {"index": index, "status": status, "output": outcome.get("output"), "error": error}


def _succeeded(outcomes: dict[str, Outcome]) -> int:
    return sum("output" in outcome for outcome in outcomes.values())


def _info(error: SojournError) -> ErrorInfo:
    if isinstance(error, RunFailed):
        return error.error
    return ErrorInfo(code=error.code or ErrorCode.STEP_FAILED, message=error.message)
