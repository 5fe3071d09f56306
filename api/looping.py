"""The API's background loops: a pass every so often, through every fault."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from schemas.errors import SojournError

_log = structlog.get_logger(__name__)


async def loop(
    once: Callable[[], Awaitable[object]], *, every: float | Callable[[], float], failed: str
) -> None:
    """Make a pass every `every` seconds until cancelled; what is away is tried again next time.

    `every` may be asked after each pass; `failed` is the name of the log line of one that failed.
    """
    while True:
        try:
            await once()
        except SojournError as error:
            _log.warning(failed, code=error.code, error=error.message)
        except Exception:
            # Our own defect: the loop goes on, or its work would be left until a restart.
            _log.exception(failed)
        await asyncio.sleep(every() if callable(every) else every)
