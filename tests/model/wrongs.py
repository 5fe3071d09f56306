"""Interpreters with one wrong detail, which a comparison with the model must find."""

import asyncio
from typing import Any

from workflows import undo, walk
from workflows.steps import for_each, parallel, repeat


def _oldest_first(due: Any) -> Any:
    return lambda run: list(reversed(due(run)))


def _one_more(gather: Any) -> Any:
    return lambda calls, limit: gather(calls, limit + 1)


def _first(last_output: Any) -> Any:
    return lambda run, steps, frame: last_output(run, steps[:1], frame)


def _nothing(_: Any) -> Any:
    return lambda *_: None


def _not_cancelled(_: Any) -> Any:
    async def cancel(tasks: list[Any]) -> None:
        await asyncio.gather(*tasks, return_exceptions=True)

    return cancel


def _always(_: Any) -> Any:
    async def holds(*_: Any) -> bool:
        return True

    return holds


# Of each: the module, its function, and what breaks it.
WRONGS: list[tuple[Any, str, Any]] = [
    (undo, "due", _oldest_first),
    (undo, "failed", _nothing),
    (for_each, "gather", _one_more),
    (walk, "last_output", _first),
    (walk, "_passes", _always),
    (parallel, "cancel", _not_cancelled),
    (repeat, "_holds", _always),
]
