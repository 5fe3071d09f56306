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
from db.dead_letter_table import DeadLetter, LetterKind, LetterState
from db.engine import Database
from db.event_tables import EventDelivery, StoredEvent
from db.queue_counts import outbox_ages
from db.run_quotas import RunQuota
from db.run_table import Run
from schemas.actions import Catalogue
from schemas.run import MAX_EVENTS
from tests.integration.api.conftest import API_KEY, client_of
from tests.integration.db.analytics_rows import NAMES, forget, generate, is_whole, store
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
    await forget(database, workspace)


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


async def samples_of(own: AsyncClient) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families((await own.get("/metrics")).text)
        for sample in family.samples
    }


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

    samples = await samples_of(own)
    for name, counts in expected.items():
        for state, count in counts.items():
            assert samples["sojourn_queue_runs", name, state, workspace] == count
    assert samples["sojourn_task_queue_backlog", "workflow", queue] == 3
    assert samples["sojourn_task_queue_pollers", "workflow", queue] == 0
    for number in range(3):
        await client.get_workflow_handle(f"{queue}-{number}").terminate()


def queued(workspace: str, **more: Any) -> Run:
    """A run that was ordered an hour ago."""
    given = {"definition": "d", "version": 1, "workflow_id": f"{workspace}/{uuid4().hex}"}
    late = now() - timedelta(hours=1)
    return Run(workspace=workspace, due_at=now(), created_at=late, **(given | more))


async def test_the_outbox_is_as_old_as_what_waits_longest_for_temporal(
    own: AsyncClient, database: Database, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_gauges, "PATIENCE", 15.0)
    monkeypatch.setattr(queue_gauges, "KEPT", 0.0)
    oldest = ("sojourn_outbox_oldest_seconds", workspace)
    # These wait for a slot, or are handed over; they were ordered an hour ago.
    began = queued(workspace, admitted_at=now() - timedelta(hours=1), temporal_run_id="there")
    stuck = queued(workspace, admitted_at=now() - timedelta(seconds=90))
    full = queued(workspace)
    async with database.session() as session:
        session.add_all([queued(workspace), began, full])
    assert (await samples_of(own))[oldest] == 0

    async with database.session() as session:
        session.add(stuck)
    assert 90 <= (await samples_of(own))[oldest] < 140

    event = StoredEvent(
        workspace=workspace, id="e", source="s", type="t", key="k", time=now(),
        received_at=now() - timedelta(seconds=300),
    )  # fmt: skip
    async with database.session() as session:
        session.add(event)
        await session.flush()
        # Whoever has taken it has not delivered it.
        place = {"event_seq": event.seq, "workspace": workspace, "workflow_id": "x", "path": "p"}
        late = EventDelivery(run_id=full.id, due_at=now() + timedelta(seconds=3), **place)
        session.add(late)
    assert 300 <= (await samples_of(own))[oldest] < 350
    async with database.session() as session:
        session.add(RunQuota(run_id=full.id, workspace=workspace, events=MAX_EVENTS))
    assert 90 <= (await samples_of(own))[oldest] < 140
    async with database.session() as session:
        await session.delete(await session.get(RunQuota, full.id))
        late = await session.get_one(EventDelivery, (late.event_seq, late.run_id))
        late.delivered_at = now()
    assert 90 <= (await samples_of(own))[oldest] < 140
    async with database.session() as session:
        (await session.get_one(Run, stuck.id)).temporal_run_id = "there"
    assert (await samples_of(own))[oldest] == 0
    async with database.session() as session:
        assert workspace not in await outbox_ages(session)


async def test_open_dead_letters_are_counted_by_kind(
    own: AsyncClient, database: Database, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_gauges, "PATIENCE", 15.0)
    states = [(LetterKind.RUN, LetterState.OPEN)] * 3 + [(LetterKind.SEND, LetterState.OPEN)]
    states += [(LetterKind.SEND, state) for state in LetterState if state != LetterState.OPEN]
    async with database.session() as session:
        for kind, state in states:
            given: dict[str, Any] = {"definition": "d", "code": "C", "message": "m"}
            identity = uuid4().hex
            session.add(
                DeadLetter(
                    workspace=workspace,
                    kind=kind,
                    state=state,
                    subject_id=identity,
                    fingerprint="f",
                    **given,
                )
            )
    samples = await samples_of(own)
    found = {kind: samples["sojourn_dead_letters", kind, workspace] for kind in LetterKind}
    assert found == {"run": 3, "send": 1, "delivery": 0, "blocked": 0}


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
