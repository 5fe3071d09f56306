"""Gauges of queues for `/metrics`: read when they are scraped, and kept for some seconds."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import structlog
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from api.tenants import Tenants
from db import tenancy
from db.blocked import counts as blocked_counts
from db.engine import Database
from db.queue_counts import QueueCounts, open_letters, outbox_ages, queue_counts
from schemas.errors import SojournError
from workflows.backlog import Backlog
from workflows.gateway import Gateway

# Seconds. Several scrapers, or an eager one, cost one look at the tables in this time.
KEPT = 10.0
PATIENCE = 1.0
_log = structlog.get_logger(__name__)


@dataclass
class _Counts:
    """What was found, by workspace; `ages` is None where the outbox was not read."""

    queues: dict[str, list[QueueCounts]] = field(default_factory=dict)
    blocked: dict[str, dict[str, int]] = field(default_factory=dict)
    letters: dict[str, dict[str, int]] = field(default_factory=dict)
    ages: dict[str, float] | None = None


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
                self._text = _text(counts, backlogs, self._gateway.task_queue)
                self._until = time.monotonic() + KEPT
            return self._text

    async def _counts(self) -> _Counts:
        found = _Counts()

        async def one(workspace: str) -> None:
            async with self._database.session() as session:
                found.queues[workspace] = await queue_counts(session, workspace)
                found.blocked[workspace] = await blocked_counts(session, workspace)
                found.letters[workspace] = await open_letters(session, workspace)

        try:
            async with asyncio.timeout(PATIENCE):
                with tenancy.system():
                    async with self._database.session() as session:
                        found.ages = await outbox_ages(session)
                await self._tenants.each(one)
        except (TimeoutError, SojournError) as error:
            _log.warning("queues_not_counted", error=type(error).__name__)
        return found

    async def _backlogs(self) -> list[Backlog]:
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._gateway.backlogs()
        except (TimeoutError, SojournError) as error:
            _log.warning("task_queue_not_read", error=type(error).__name__)
            return []


def _text(counts: _Counts, backlogs: list[Backlog], task_queue: str) -> bytes:
    registry = CollectorRegistry()

    def gauge(name: str, told: str, *labels: str) -> Gauge:
        return Gauge(name, told, labels, registry=registry)

    runs = gauge(
        "sojourn_queue_runs",
        "Runs that are in a state now; failed ones of the last 24 hours.",
        *("workspace", "definition", "state"),
    )
    held_up = gauge(
        "sojourn_runs_blocked",
        "Open runs that Temporal cannot get on.",
        *("workspace", "definition"),
    )
    letters = gauge("sojourn_dead_letters", "Open dead letters.", "workspace", "kind")
    oldest = gauge(
        "sojourn_outbox_oldest_seconds",
        "Age of the oldest start or event that waits to be handed to Temporal.",
        "workspace",
    )
    for workspace, every in counts.queues.items():
        for each in every:
            states = asdict(each)
            _fill(runs, (workspace, states.pop("definition")), states)
    for workspace, blocked in counts.blocked.items():
        _fill(held_up, (workspace,), blocked)
    for workspace, kinds in counts.letters.items():
        _fill(letters, (workspace,), kinds)
        if counts.ages is not None:
            oldest.labels(workspace).set(counts.ages.get(workspace, 0))
    of_queue = ("task_queue", "kind")
    tasks = gauge("sojourn_task_queue_backlog", "Tasks that no worker has taken.", *of_queue)
    age = gauge("sojourn_task_queue_backlog_age_seconds", "Age of the oldest of them.", *of_queue)
    pollers = gauge("sojourn_task_queue_pollers", "Pollers seen in the last 75 s.", *of_queue)
    for backlog in backlogs:
        tasks.labels(task_queue, backlog.kind).set(backlog.tasks)
        age.labels(task_queue, backlog.kind).set(backlog.age)
        pollers.labels(task_queue, backlog.kind).set(backlog.pollers)
    return generate_latest(registry)


def _fill(gauge: Gauge, labels: tuple[str, ...], numbers: Mapping[str, int]) -> None:
    """Set a gauge with these labels and one more, the number's name."""
    for name, number in numbers.items():
        gauge.labels(*labels, name).set(number)
