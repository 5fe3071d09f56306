"""/queues and the gauges of /metrics: runs by where they are, and Temporal's backlog."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from httpx2 import AsyncClient
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import event
from temporalio.client import Client

from api import queue_gauges
from api.app import create_app
from api.config import ApiConfig
from db.base import now
from db.engine import Database
from schemas.actions import Catalogue
from tests.integration.api.conftest import API_KEY, client_of
from tests.integration.db.analytics_rows import NAMES, generate, is_whole, store
from workflows.gateway import Gateway
from workflows.setup import connect


@pytest.fixture
def workspace() -> str:
    return f"w-{uuid4().hex[:8]}"


@pytest.fixture
def queue() -> str:
    return f"queues-{uuid4().hex[:8]}"


@pytest.fixture
async def own(
    database: Database, client: Client, catalogue: Catalogue, workspace: str, queue: str
) -> AsyncIterator[AsyncClient]:
    """A client of an API over a workspace and a task queue that nobody else uses."""
    app = create_app(
        database=database,
        gateway=Gateway(client, task_queue=queue, deadline=10),
        catalogue=catalogue,
        config=ApiConfig(api_key=API_KEY, workspace=workspace),
    )
    async with client_of(app) as found:
        yield found


async def expected_counts(database: Database, workspace: str) -> dict[str, dict[str, int]]:
    """Store random rows, order some of the queued ones, and count all by hand."""
    rows = generate(workspace, 7)
    present = rows.present
    queued = [run for run in rows.runs if run["status"] == "queued"]
    for number, run in enumerate(queued):
        if number % 3:
            run["due_at"] = present + timedelta(hours=1 if number % 3 == 1 else -1)
    ordered = {run["id"]: run.pop("due_at", None) for run in rows.runs}
    await store(database, rows)
    async with database.session() as session:
        connection = await session.connection()
        for identity, due in ordered.items():
            if due is not None:
                await connection.execute(
                    sa.text("UPDATE runs SET due_at = :due WHERE id = :id"),
                    {"due": due, "id": identity},
                )
    found: dict[str, dict[str, int]] = {}
    for run in rows.runs:
        if not is_whole(run):
            continue
        state = state_of(run, ordered[run["id"]], present)
        if state is None:
            continue
        counts = found.setdefault(run["definition"], {})
        counts[state] = counts.get(state, 0) + 1
    return found


def state_of(run: dict[str, Any], due: datetime | None, present: datetime) -> str | None:
    """Where a run counts; nowhere once it has ended, but for late failures."""
    state = str(run["status"])
    if state == "queued":
        return "starting" if due is None else "delayed" if due > present else "queued"
    if state in ("failed", "timed_out"):
        return "failed" if run["finished_at"] >= now() - timedelta(hours=24) else None
    return None if run["finished_at"] is not None else state


async def backlog_of(own: AsyncClient) -> dict[str, Any]:
    answer = await own.get("/api/v1/queues")
    assert answer.status_code == 200, answer.text
    return {each["kind"]: each for each in answer.json()["backlog"]}


async def test_queues_equal_a_count_by_hand(
    own: AsyncClient,
    database: Database,
    workspace: str,
    queue: str,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # On a busy machine an answer may take longer than a scraper is to wait for it.
    monkeypatch.setattr(queue_gauges, "PATIENCE", 15.0)
    expected = await expected_counts(database, workspace)
    shown = (await own.get("/api/v1/queues")).json()
    assert shown["task_queue"] == queue
    assert [each["definition"] for each in shown["definitions"]] == list(NAMES)
    for each in shown["definitions"]:
        counts = {
            name: value
            for name, value in each.items()
            if name not in ("definition", "open") and value
        }
        assert counts == expected[each["definition"]]
        begun = ("running", "waiting", "paused", "compensating")
        assert each["open"] == sum(each[name] for name in begun)

    # Nobody polls: what is started stays in the backlog.
    for number in range(3):
        await client.start_workflow("nothing", id=f"{queue}-{number}", task_queue=queue)
    async with asyncio.timeout(120):
        while (await backlog_of(own))["workflow"]["tasks"] < 3:  # noqa: ASYNC110 - it is asked
            await asyncio.sleep(0.2)
    found = await backlog_of(own)
    assert found["workflow"]["pollers"] == found["activity"]["tasks"] == 0

    text = (await own.get("/metrics")).text
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    for name, counts in expected.items():
        for state, count in counts.items():
            assert samples["sojourn_queue_runs", name, state, workspace] == count
    assert samples["sojourn_task_queue_backlog", "workflow", queue] == 3
    assert samples["sojourn_task_queue_pollers", "workflow", queue] == 0
    for number in range(3):
        await client.get_workflow_handle(f"{queue}-{number}").terminate()


async def test_gauges_are_kept_for_some_seconds(own: AsyncClient, database: Database) -> None:
    looks = 0

    def count(*_: object) -> None:
        nonlocal looks
        looks += 1

    event.listen(database.engine.sync_engine, "before_cursor_execute", count)
    await asyncio.gather(*(own.get("/metrics") for _ in range(5)))
    once = looks
    assert once > 0
    await own.get("/metrics")
    assert looks == once
    event.remove(database.engine.sync_engine, "before_cursor_execute", count)


async def test_parts_that_are_away_are_left_out(
    without_temporal: AsyncClient, catalogue: Catalogue
) -> None:
    shown = await without_temporal.get("/api/v1/queues")
    assert shown.status_code == 200
    assert shown.json()["backlog"] is None
    metrics = await without_temporal.get("/metrics")
    assert metrics.status_code == 200
    app = create_app(
        database=Database("postgresql://nobody:x@127.0.0.1:1/none"),
        gateway=Gateway(await connect("127.0.0.1:1", lazy=True)),
        catalogue=catalogue,
        config=ApiConfig(api_key=API_KEY),
    )
    async with client_of(app) as client:
        assert (await client.get("/api/v1/queues")).status_code == 503
        assert (await client.get("/metrics")).status_code == 200
