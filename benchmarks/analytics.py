"""Times every analytics endpoint over a million rows of steps, through the API in this process."""

import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import perf_counter

import asyncpg
import structlog
from httpx2 import ASGITransport, AsyncClient
from rich.table import Table

from activities.registry import load
from api.app import create_app
from api.config import ApiConfig
from benchmarks.seeding import BIG, STEPS, WORKSPACE, seed
from db import analytics_days
from db.engine import Database
from db.migrate import upgrade
from dev.postgres import EmbeddedPostgres
from workflows.gateway import Gateway
from workflows.setup import connect

_KEY = "benchmark-key"
_TURNS = 7
_EVER = datetime(2020, 1, 1, tzinfo=UTC).isoformat()
_OF_BIG = f"/definitions/{BIG}"
PATHS: tuple[tuple[str, dict[str, str]], ...] = (
    ("/overview", {}),
    (_OF_BIG, {}),
    (f"{_OF_BIG}/steps", {}),
    (f"{_OF_BIG}/funnel", {}),
    (f"{_OF_BIG}/variants", {"step": "step_3"}),
    (f"{_OF_BIG}/variants", {"step": "step_3", "goal": "booked"}),
)
# Of these the time asked for makes no difference.
ALWAYS: tuple[tuple[str, dict[str, str]], ...] = ((f"{_OF_BIG}/waiting", {}),)


@dataclass
class Timing:
    """Times of one endpoint, in ms, after a first call that is not counted."""

    path: str
    span: str
    times: list[float] = field(default_factory=list)


@dataclass
class Analytics:
    """Timings of all endpoints, and what filling the tables took, in seconds."""

    step_rows: int
    seeded: float
    rolled: float
    days: int
    load: float
    timings: list[Timing] = field(default_factory=list)


async def measure(step_rows: int, *, told: Callable[[str], None]) -> Analytics:
    """Seed a database of its own, count its days, and time the endpoints."""
    folder = Path(tempfile.mkdtemp(prefix="sojourn-analytics-"))
    postgres = EmbeddedPostgres(folder, durable=False)
    try:
        postgres.start()
        connection = await asyncpg.connect(postgres.url())
        await connection.execute('CREATE DATABASE "sojourn"')
        await connection.close()
        url = postgres.url("sojourn")
        await upgrade(url)
        start = perf_counter()
        await seed(url, step_rows // STEPS)
        seeded = perf_counter() - start
        told(f"{step_rows:,} rows of steps after {seeded:.1f} s")
        database = Database(url)
        try:
            start = perf_counter()
            done = await analytics_days.roll(database, WORKSPACE)
            rolled = perf_counter() - start
            told(f"{len(done.days)} days counted after {rolled:.1f} s")
            found = Analytics(step_rows, seeded, rolled, len(done.days), os.getloadavg()[0])
            await _time(database, found)
        finally:
            await database.close()
        return found
    finally:
        postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)


async def _time(database: Database, found: Analytics) -> None:
    # Not a line for each request.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    app = create_app(
        database=database,
        gateway=Gateway(await connect("127.0.0.1:1", lazy=True)),
        catalogue=load(),
        config=ApiConfig(api_key=_KEY),
    )
    cases = [
        *((path, params, "30 days") for path, params in PATHS),
        *((path, {**params, "from": _EVER}, "90 days") for path, params in PATHS),
        *((path, params, "now") for path, params in ALWAYS),
    ]
    async with AsyncClient(
        transport=ASGITransport(app=app),
        base_url="http://benchmark/api/v1/analytics",
        headers={"Authorization": f"Bearer {_KEY}"},
    ) as client:
        for path, params, span in cases:
            shown = "&".join(f"{name}={params[name]}" for name in params if name != "from")
            timing = Timing(f"{path}?{shown}" if shown else path, span)
            for turn in range(_TURNS + 1):
                start = perf_counter()
                answer = await client.get(path, params=params)
                taken = (perf_counter() - start) * 1e3
                answer.raise_for_status()
                if turn:
                    timing.times.append(taken)
            found.timings.append(timing)


def table(found: Analytics) -> Table:
    """Give the timings as a table."""
    shown = Table(
        title=f"Analytics over {found.step_rows:,} rows of steps (load {found.load:.1f}),"
        f" {found.days} days counted in {found.rolled:.1f} s"
    )
    shown.add_column("GET /api/v1/analytics…")
    shown.add_column("runs of")
    for name in ("p50 ms", "max ms"):
        shown.add_column(name, justify="right")
    for timing in found.timings:
        shown.add_row(
            timing.path, timing.span, f"{median(timing.times):.1f}", f"{max(timing.times):.1f}"
        )
    return shown
