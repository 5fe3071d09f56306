"""A closed loop: so many callers, each starting a run when its last one has ended."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


async def closed_loop(
    calls: Sequence[T], call: Callable[[T], Awaitable[None]], concurrency: int
) -> None:
    """Make every call, `concurrency` at a time; the first error ends all."""
    waiting = iter(calls)

    async def caller() -> None:
        for one in waiting:
            await call(one)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(concurrency, len(calls))):
            group.create_task(caller())
