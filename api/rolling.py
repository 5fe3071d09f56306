"""Keeps the figures of days that are over: the API's loop around `db.analytics_days`."""

import structlog

from api.looping import loop
from api.tenants import Tenants
from db.analytics_days import roll
from db.engine import Database

# Seconds. A pass that finds nothing to do counts the ended runs by day, and no more.
EVERY = 1800.0
_log = structlog.get_logger(__name__)


async def run_rolling(database: Database, tenants: Tenants, *, every: float = EVERY) -> None:
    """Compute the days that are due every `every` seconds until cancelled."""

    async def one(workspace: str) -> None:
        done = await roll(database, workspace)
        if done.days:
            last = done.days[-1].isoformat()
            _log.info("days_counted", workspace=workspace, days=len(done.days), last=last)

    await loop(lambda: tenants.each(one), every=every, failed="days_not_counted")
