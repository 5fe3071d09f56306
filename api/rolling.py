"""Keeps the figures of days that are over: the API's loop around `db.analytics_days`."""

import structlog

from api.looping import loop
from db.analytics_days import roll
from db.engine import Database

# Seconds. A pass that finds nothing to do counts the ended runs by day, and no more.
EVERY = 1800.0
_log = structlog.get_logger(__name__)


async def run_rolling(database: Database, workspace: str, *, every: float = EVERY) -> None:
    """Compute the days that are due every `every` seconds until cancelled."""

    async def once() -> None:
        done = await roll(database, workspace)
        if done.days:
            _log.info("days_counted", days=len(done.days), last=done.days[-1].isoformat())

    await loop(once, every=every, failed="days_not_counted")
