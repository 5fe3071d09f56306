"""Tasks side by side: what fails, stops or is cancelled among them decides for the others."""

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any

from temporalio import workflow

from workflows.unwinding import Aborted, Quiesce, StopRun

with workflow.unsafe.imports_passed_through():
    from schemas.errors import SojournError

Task = asyncio.Task[None]


async def first_done(tasks: list[Task]) -> list[Task]:
    """Wait for at least one task; a failure cancels the others and is raised.

    Quiesce cancels nothing: the other tasks come to their own boundary first.
    """
    try:
        finished, _ = await workflow.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        await cancel(tasks)
        raise
    failures = [task.exception() for task in finished if not task.cancelled()]
    if any(task.cancelled() for task in finished):
        await cancel(tasks)
        raise asyncio.CancelledError
    failure = _gravest(failures)
    if failure is None:
        return finished
    others = [task for task in tasks if task not in finished]
    if isinstance(failure, Quiesce):
        if others:
            await _settle(others)
        raise failure
    await cancel(others)
    raise failure


async def _settle(tasks: list[Task]) -> None:
    """Wait for all tasks to reach a boundary; a graver end than Quiesce is raised."""
    rest = tasks
    while rest:
        try:
            finished = await first_done(rest)
        except Quiesce:
            return
        rest = [task for task in rest if task not in finished]


async def gather(calls: list[Coroutine[Any, Any, None]], limit: int) -> None:
    """Run calls side by side, at most `limit` at once, in their order."""
    waiting = list(reversed(calls))
    running: list[Task] = []
    try:
        while waiting or running:
            while waiting and len(running) < limit:
                running.append(asyncio.create_task(waiting.pop()))
            finished = await first_done(running)
            running = [task for task in running if task not in finished]
    finally:
        for call in waiting:
            call.close()


async def cancel(tasks: list[Task]) -> None:
    """Cancel tasks and wait for their end, whatever it is; only an operator's abort is raised."""
    for task in tasks:
        task.cancel()
    if tasks:
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        for end in ends:
            if isinstance(end, Aborted):
                raise end


async def shielded(call: Coroutine[Any, Any, None]) -> None:
    """Run a call to its end through every cancel of the caller; its own failure is raised."""
    task = asyncio.create_task(call)
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise
    task.result()


async def result_of(handle: "workflow.ActivityHandle[Any]") -> Any:
    """Give an activity's result, also when a cancel comes together with it.

    The SDK drops a result that arrives in one workflow task with a cancel, and what the activity
    has done would never be compensated. A cancel goes to the activity only where no result is on
    its way; the caller finds it in its task's `cancelling()`.
    """
    while True:
        try:
            return await asyncio.shield(handle)
        except asyncio.CancelledError:
            if handle.cancelled():
                raise
        for _ in range(_HOPS):
            if handle.done():
                break
            # Yields to the event loop; no timer.
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
        if not handle.done():
            handle.cancel()


# Anything else is a bug, and graver.
_BY_GRAVITY = (Aborted, SojournError, StopRun, Quiesce)
# So many rounds of the event loop bring a result from Temporal to its handle.
_HOPS = 5


def _gravest(failures: Sequence[BaseException | None]) -> BaseException | None:
    """Choose what to raise: a bug first, an abort, a failure, a stop, and Quiesce last."""
    found = [failure for failure in failures if failure is not None]

    def rank(failure: BaseException) -> int:
        for place, kind in enumerate(_BY_GRAVITY, start=1):
            if isinstance(failure, kind):
                return place
        return 0

    return min(found, key=rank, default=None)
