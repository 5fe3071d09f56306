"""Gauges of queues for `/metrics`: read when they are scraped, and kept for some seconds."""

import asyncio
import time
from dataclasses import asdict

import structlog
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from api.tenants import Tenants
from db.blocked import counts as blocked_counts
from db.engine import Database
from db.queue_counts import QueueCounts, queue_counts
from schemas.errors import SojournError
from workflows.backlog import Backlog
from workflows.gateway import Gateway

# Seconds. Several scrapers, or an eager one, cost one look at the tables in this time.
KEPT = 10.0
PATIENCE = 1.0
_log = structlog.get_logger(__name__)


class QueueGauges:
    """The gauges of all workspaces and one task queue."""

    def __init__(self, database: Database, gateway: Gateway, tenants: Tenants) -> None:
        """Read nothing yet."""
        self._database = database
        self._gateway = gateway
        self._tenants = tenants
        self._lock = asyncio.Lock()
        self._text = b""
        self._until = 0.0

    async def render(self) -> bytes:
        """Give the gauges as Prometheus text; without those of a part that does not answer."""
        async with self._lock:
            if time.monotonic() >= self._until:
                counts, backlogs = await asyncio.gather(self._counts(), self._backlogs())
                self._text = _text(*counts, backlogs, self._gateway.task_queue)
                self._until = time.monotonic() + KEPT
            return self._text

    async def _counts(self) -> tuple[dict[str, list[QueueCounts]], dict[str, dict[str, int]]]:
        counts: dict[str, list[QueueCounts]] = {}
        blocked: dict[str, dict[str, int]] = {}

        async def one(workspace: str) -> None:
            async with self._database.session() as session:
                counts[workspace] = await queue_counts(session, workspace)
                blocked[workspace] = await blocked_counts(session, workspace)

        try:
            async with asyncio.timeout(PATIENCE):
                await self._tenants.each(one)
        except (TimeoutError, SojournError) as error:
            _log.warning("queues_not_counted", error=type(error).__name__)
        return counts, blocked

    async def _backlogs(self) -> list[Backlog]:
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._gateway.backlogs()
        except (TimeoutError, SojournError) as error:
            _log.warning("task_queue_not_read", error=type(error).__name__)
            return []


def _text(
    counts: dict[str, list[QueueCounts]],
    blocked: dict[str, dict[str, int]],
    backlogs: list[Backlog],
    task_queue: str,
) -> bytes:
    registry = CollectorRegistry()
    runs = Gauge(
        "sojourn_queue_runs",
        "Runs that are in a state now; failed ones of the last 24 hours.",
        ["workspace", "definition", "state"],
        registry=registry,
    )
    for workspace, every in counts.items():
        for each in every:
            states = asdict(each)
            name = states.pop("definition")
            for state, number in states.items():
                runs.labels(workspace, name, state).set(number)
    held_up = Gauge(
        "sojourn_runs_blocked",
        "Open runs that Temporal cannot get on.",
        ["workspace", "definition"],
        registry=registry,
    )
    for workspace, definitions in blocked.items():
        for name, number in definitions.items():
            held_up.labels(workspace, name).set(number)
    labels = ["task_queue", "kind"]
    gauges = {
        "tasks": Gauge(
            "sojourn_task_queue_backlog",
            "Tasks that no worker has taken.",
            labels,
            registry=registry,
        ),
        "age": Gauge(
            "sojourn_task_queue_backlog_age_seconds",
            "Age of the oldest of them.",
            labels,
            registry=registry,
        ),
        "pollers": Gauge(
            "sojourn_task_queue_pollers",
            "Pollers seen in the last 75 s.",
            labels,
            registry=registry,
        ),
    }
    for backlog in backlogs:
        for field, gauge in gauges.items():
            gauge.labels(task_queue, backlog.kind).set(getattr(backlog, field))
    return generate_latest(registry)
