"""Doing the same for many rows, some side by side, so that one bad row holds up no other."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import structlog

from schemas.errors import UnavailableError

T = TypeVar("T")
CONCURRENCY = 8
_log = structlog.get_logger(__name__)


async def abreast(
    items: Sequence[T], call: Callable[[T], Awaitable[bool]], *, failed: str, name: str
) -> int:
    """Call for each item, some at once; gives for how many the answer was true.

    Raises UnavailableError after all were tried; any other fault of an item is logged as `failed`,
    with the item's attribute `name`.
    """
    slots = asyncio.Semaphore(CONCURRENCY)

    async def one(item: T) -> bool:
        async with slots:
            return await call(item)

    answers = await asyncio.gather(*(one(item) for item in items), return_exceptions=True)
    away: UnavailableError | None = None
    for item, answer in zip(items, answers, strict=True):
        if isinstance(answer, UnavailableError):
            away = answer
        elif isinstance(answer, Exception):
            _log.error(failed, run_id=getattr(item, name), exc_info=answer)
        elif isinstance(answer, BaseException):
            raise answer
    if away is not None:
        raise away
    return sum(answer is True for answer in answers)
