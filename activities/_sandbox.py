"""Python in pydantic-monty: an interpreter of its own, in processes that serve one run each.

It is no host interpreter with things taken away: files, sockets, the environment and the clock's
sleep are not there unless the host answers for them, and this one answers for nothing.
"""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from types import ModuleType
from typing import Any

from activities.errors import ActionError
from schemas.errors import ErrorCode

MAX_KEPT_PRINTS = 64 * 1024
# Above so much a program is printing for its own sake, and the reader would have to keep up.
MAX_PRINTS = 1024 * 1024
_MAX_MESSAGE = 1000
_LAST_LINES = 20
_LIMITS: dict[str, Any] = {
    "max_recursion_depth": 200,
    "max_suspensions": 100,
    "max_total_sleep_secs": 0.0,
}
# Nobody answers for what the program asks of its host: it fails.
_POLICY = {"sleep": "call_host"}
_PARSED = "sojourn: the program was read to its end"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run may take; memory in bytes."""

    time: timedelta
    memory: int


class ProgramError(ActionError):
    """A program failed; `lines` are what it had printed by then."""

    code = ErrorCode.CODE_ERROR

    def __init__(
        self,
        message: str,
        lines: list[str],
        details: dict[str, Any] | None = None,
        *,
        retryable: bool = False,
    ) -> None:
        """Build it; only a process that was lost is worth another attempt."""
        super().__init__(message, code=self.code, retryable=retryable, details=details)
        self.lines = lines


@dataclass(frozen=True, slots=True)
class Ran:
    """What a program gave, as the sandbox hands it out, and the lines that it printed."""

    value: Any
    lines: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SyntaxFault:
    """Why a program cannot run at all; `line` counts from 1."""

    message: str
    line: int | None


class Sandbox:
    """The processes that run programs; opened with the first one, in the loop that uses it."""

    def __init__(self) -> None:
        """Nothing runs yet."""
        self._pool: Any = None
        self._opening = asyncio.Lock()

    async def run(self, source: str, inputs: Mapping[str, Any], limits: Limits) -> Ran:
        """Run a program to its end; raises ActionError CODE_ERROR for whatever it does wrong.

        `inputs` are JSON values by name. A program over its time is ended by its process's death
        at the latest one second later; only a process lost for another reason is worth a retry.
        """
        monty = _library()
        pool = await self._opened(monty)
        prints = monty.CollectString(MAX_PRINTS)
        bounds = {
            **_LIMITS,
            "max_feed_duration_secs": limits.time.total_seconds(),
            "max_memory": limits.memory,
        }
        try:
            async with pool.checkout(script_name="source", limits=bounds, os_policy=_POLICY) as one:
                value = await one.feed_run(source, inputs=dict(inputs), print_callback=prints)
        except monty.MontyCrashedError as error:
            printed = _lines(prints.output)
            if error.timed_out:
                message = f"it took longer than {limits.time.total_seconds():g} s"
                raise ProgramError(message, printed) from None
            message = f"the sandbox's process was lost: {str(error)[:_MAX_MESSAGE]}"
            raise ProgramError(message, printed, retryable=True) from None
        except monty.MontyError as error:
            details: dict[str, Any] = {"error": type(error.exception()).__name__}
            line = _line(error)
            if line is not None:
                details["line"] = line
            printed = _lines(prints.output)
            if printed:
                details["logs"] = [line[:200] for line in printed[-_LAST_LINES:]]
            where = f"line {line}: " if line is not None else ""
            raise ProgramError(where + str(error)[:_MAX_MESSAGE], printed, details) from None
        return Ran(value, _lines(prints.output))

    async def _opened(self, monty: ModuleType) -> Any:
        async with self._opening:
            if self._pool is None:
                # One run a process: nothing that a program leaves behind is there for the next.
                pool = monty.AsyncMonty(
                    min_processes=0,
                    max_processes=max(2, os.cpu_count() or 2),
                    max_checkouts_per_worker=1,
                )
                self._pool = await pool.__aenter__()
        return self._pool

    async def aclose(self) -> None:
        """End the processes."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.__aexit__(None, None, None)


@lru_cache(maxsize=256)
def find_syntax_fault(source: str) -> SyntaxFault | None:
    """Read a program without running any of it; blocks for some milliseconds.

    The sandbox reads all of a program before it runs the first line, which here is our own and
    fails. Gives None as well where the sandbox is not installed: then the workers say it.
    """
    try:
        monty = _library()
    except ActionError:
        return None
    limits = {**_LIMITS, "max_feed_duration_secs": 1.0, "max_memory": 64 * 1024 * 1024}
    with (
        monty.Monty(min_processes=1, max_processes=1) as pool,
        pool.checkout(script_name="source", limits=limits, os_policy=_POLICY) as one,
    ):
        try:
            one.feed_run(f"raise ValueError({_PARSED!r})\n{source}", print_callback=_drop)
        except monty.MontyError as error:
            message = str(error)
            if _PARSED in message:
                return None
            line = _line(error)
            return SyntaxFault(message[:_MAX_MESSAGE], None if line is None else max(line - 1, 1))
    raise AssertionError("unreachable: the first line fails")


def _drop(_stream: str, _text: str) -> None:
    """Nothing is printed by what does not run."""


def _library() -> ModuleType:
    try:
        import pydantic_monty
    except ImportError as error:
        raise ActionError(
            f"code steps need the extra 'code': {error.name} is not installed",
            code=ErrorCode.CODE_ERROR,
            retryable=False,
            hint="install sojourn[code] on the workers",
        ) from error
    return pydantic_monty


def _line(error: Any) -> int | None:
    frames = error.traceback() if hasattr(error, "traceback") else []
    return frames[-1].line if frames else None


def _lines(text: str) -> list[str]:
    kept = text.encode("utf-8", "replace")
    if len(kept) <= MAX_KEPT_PRINTS:
        return text.splitlines()
    lines = kept[:MAX_KEPT_PRINTS].decode("utf-8", "ignore").splitlines()
    return [*lines, f"(cut: {len(kept):,} bytes were printed, {MAX_KEPT_PRINTS:,} are kept)"]
