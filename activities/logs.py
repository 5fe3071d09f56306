"""Lines that an attempt leaves in its run's log: collected while it runs, written at its end."""

import asyncio
import logging
from contextlib import suppress
from datetime import timedelta
from typing import Any, Literal

from activities.masking import Masks
from activities.services import Services
from db import run_logs
from db.run_logs import MAX_LINES, Line, LogLevel, LogSource
from schemas.actions import StepContext

Level = Literal["debug", "info", "warning", "error"]
# An attempt's result must not come late for the sake of its log.
_PATIENCE_SHARE = 0.05
_PATIENCE_MAX = timedelta(seconds=1)
_logger = logging.getLogger(__name__)
# Writes that outlive their attempt; the loop itself keeps weak references only.
_late: set[asyncio.Task[None]] = set()


class LogLines:
    """The lines of one attempt; no more are collected than a run's log can hold."""

    def __init__(self) -> None:
        """Collect for one attempt."""
        self.lines: list[Line] = []

    def add(
        self,
        level: Level | LogLevel,
        message: str,
        data: dict[str, Any] | None = None,
        *,
        source: LogSource = LogSource.ACTIVITY,
    ) -> None:
        """Add a line; raises ValueError for an unknown level."""
        # One more than fits, so that the log says that it is full.
        if len(self.lines) <= MAX_LINES:
            line = Line(level=LogLevel(level), message=message, source=source, data=data or {})
            self.lines.append(line)

    async def keep(
        self, services: Services, step: StepContext, masks: Masks, timeout: timedelta
    ) -> None:
        """Write the lines, with the attempt's secrets hidden; never raises for a failed write.

        Waits for a twentieth of the attempt's `timeout` at most; what takes longer is written
        beside the steps that follow.
        """
        if not self.lines or services.database is None:
            return
        lines = [
            Line(
                level=line.level,
                message=masks.text(line.message) if masks else line.message,
                source=line.source,
                step_path=step.path,
                data=masks.value(line.data) if masks else line.data,
                at=line.at,
            )
            for line in self.lines
        ]
        task = asyncio.ensure_future(_write(services, step, lines))
        _late.add(task)
        task.add_done_callback(_late.discard)
        patience = min(timeout * _PATIENCE_SHARE, _PATIENCE_MAX)
        # What the attempt has done stays done: a cancel that comes only now changes nothing of it.
        with suppress(asyncio.CancelledError):
            await asyncio.wait({task}, timeout=patience.total_seconds())


async def _write(services: Services, step: StepContext, lines: list[Line]) -> None:
    if services.database is None:
        return
    try:
        async with services.database.session() as session:
            await run_logs.write(session, step.workspace, step.run_id, lines, services.masking)
    except Exception as error:
        # A log that cannot be written fails no step.
        _logger.warning(
            "%d log lines of run %s are lost: %s", len(lines), step.run_id, type(error).__name__
        )
