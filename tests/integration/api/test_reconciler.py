"""Rows that no longer say what Temporal knows are healed."""

import asyncio
from datetime import timedelta

import pytest
import sqlalchemy as sa
from httpx2 import AsyncClient
from temporalio.client import Client
from temporalio.worker import Worker

from api import reconciler
from api.reconciler import reconcile, run_reconciler
from db import runs
from db.engine import Database
from schemas.actions import Catalogue
from schemas.errors import NotFoundError
from schemas.run import RunStart, RunStatus
from schemas.validation import load_definition
from tests.integration.api.conftest import WAITING, Publish, a_name, start, until_status
from workflows.gateway import Gateway

AT_ONCE = timedelta(seconds=-1)


async def row(database: Database, run_id: str) -> runs.Run:
    """A run's row."""
    async with database.session() as session:
        return await runs.get(session, "default", run_id)


async def rewrite(database: Database, statement: str, **values: object) -> None:
    """Do to the rows what a crash would."""
    async with database.session() as session:
        await (await session.connection()).execute(sa.text(statement), values)


async def test_terminated_runs(
    api: AsyncClient,
    publish: Publish,
    worker: Worker,
    client: Client,
    database: Database,
    gateway: Gateway,
) -> None:
    name = await publish()
    made = [await start(api, name) for _ in range(3)]
    details = [await until_status(api, run_id, "waiting") for run_id in made]
    for detail in details[:2]:
        await client.get_workflow_handle(detail["workflow_id"]).terminate("test")
    assert (await row(database, made[0])).status is RunStatus.WAITING
    await reconcile(database, gateway, stale_after=AT_ONCE)
    ended = [await row(database, run_id) for run_id in made]
    assert [run.status.value for run in ended] == ["terminated", "terminated", "waiting"]
    assert ended[0].error is not None
    assert ended[0].finished_at is not None
    await api.post(f"/api/v1/runs/{made[2]}/cancel")


async def test_a_lost_final_projection(
    publish: Publish,
    worker: Worker,
    client: Client,
    database: Database,
    gateway: Gateway,
    catalogue: Catalogue,
) -> None:
    # The run ends while its row does not exist, as after a restore of an older backup.
    name = a_name()
    made = RunStart(
        run_id=a_name(),
        workspace="default",
        definition=load_definition(WAITING.format(name=name), catalogue),
        version=1,
        input={"n": 1},
    )
    await gateway.start(made)
    await gateway.signal(made.workflow_id, "go", {"x": 1})
    await client.get_workflow_handle(made.workflow_id).result()
    async with database.session() as session:
        await runs.insert_queued(
            session, "default", definition=name, version=1, input={"n": 1}, run_id=made.run_id
        )
    await reconcile(database, gateway, stale_after=AT_ONCE)
    found = await row(database, made.run_id)
    assert (found.status, found.output) == (RunStatus.COMPLETED, {"x": 1})


async def test_a_start_whose_mark_was_lost(
    api: AsyncClient, publish: Publish, worker: Worker, database: Database, gateway: Gateway
) -> None:
    run_id = await start(api, await publish())
    await until_status(api, run_id, "waiting")
    before = (await row(database, run_id)).temporal_run_id
    await rewrite(
        database,
        "UPDATE runs SET status = 'queued', temporal_run_id = NULL, seq = 0 WHERE id = :id",
        id=run_id,
    )
    await reconcile(database, gateway, stale_after=AT_ONCE)
    found = await row(database, run_id)
    assert (found.status, found.temporal_run_id) == (RunStatus.RUNNING, before)
    await api.post(f"/api/v1/runs/{run_id}/cancel")


async def test_a_start_that_never_happened(database: Database, gateway: Gateway) -> None:
    async with database.session() as session:
        run = await runs.insert_queued(session, "default", definition="gone", version=1, input={})
    await reconcile(database, gateway, stale_after=AT_ONCE)
    assert (await row(database, run.id)).status is RunStatus.QUEUED
    await rewrite(
        database,
        "UPDATE runs SET created_at = created_at - interval '10 min',"
        " checked_at = checked_at - interval '10 min' WHERE id = :id",
        id=run.id,
    )
    await reconcile(database, gateway, stale_after=AT_ONCE)
    with pytest.raises(NotFoundError):
        await row(database, run.id)


async def test_fresh_rows_are_left_alone(
    api: AsyncClient,
    publish: Publish,
    worker: Worker,
    client: Client,
    database: Database,
    gateway: Gateway,
) -> None:
    run_id = await start(api, await publish())
    detail = await until_status(api, run_id, "waiting")
    await client.get_workflow_handle(detail["workflow_id"]).terminate("test")
    await reconcile(database, gateway)
    assert (await row(database, run_id)).status is RunStatus.WAITING
    await reconcile(database, gateway, stale_after=AT_ONCE)


async def test_the_loop_goes_on_after_a_fault(
    database: Database, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = 0
    enough = asyncio.Event()

    async def faulty(*_: object) -> int:
        nonlocal passes
        passes += 1
        if passes == 3:
            enough.set()
        raise ZeroDivisionError

    monkeypatch.setattr(reconciler, "reconcile", faulty)
    task = asyncio.create_task(run_reconciler(database, gateway, every=0.01))
    async with asyncio.timeout(5):
        await enough.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
