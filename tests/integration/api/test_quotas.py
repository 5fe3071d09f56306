"""Floods of events and signals to one run: it stays steerable, and its quota says when it is full.

The short form floods with 600 events; SOJOURN_CHAOS=1 with 20,000, and shows what happens without
a quota.
"""

import asyncio
import time
from collections import Counter
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from httpx2 import AsyncClient
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError
from temporalio.worker import Worker

from api.outbox import Outbox
from api.starting import Starter
from db.engine import Database
from schemas.run import MAX_EVENTS
from tests.faults.evidence import figures
from tests.integration.api.conftest import WAITING, Publish, a_name, start, until_status
from workflows.gateway import Gateway

LISTENING = """
name: {{name}}
steps:
  - {{{{id: go, type: wait, event: flood, key: {key}, where: event.data.good, timeout: 1h}}}}
"""


@pytest.fixture(autouse=True)
def unwatched(api: AsyncClient) -> None:
    """Look for no audit entries: that costs more than what is flooded."""
    api.event_hooks = {}


async def signals(client: Client, workflow_id: str, run_id: str) -> list[int]:
    """Count the signals of each execution of a run, the first first."""
    counts: list[int] = []
    next_id: str | None = run_id
    while next_id:
        handle = client.get_workflow_handle(workflow_id, run_id=next_id)
        kinds: Counter[str] = Counter()
        next_id = None
        async for event in handle.fetch_history_events():
            kinds[event.WhichOneof("attributes") or ""] += 1
            follows = event.workflow_execution_continued_as_new_event_attributes
            next_id = follows.new_execution_run_id or next_id
        counts.append(kinds["workflow_execution_signaled_event_attributes"])
    return counts


async def each(count: int, work: Any) -> list[Any]:
    """Do something `count` times, eight at once."""
    slots = asyncio.Semaphore(8)

    async def one(number: int) -> Any:
        async with slots:
            return await work(number)

    return await asyncio.gather(*(one(number) for number in range(count)))


async def test_a_flood_of_events_leaves_a_run_steerable(
    api: AsyncClient,
    app: FastAPI,
    publish: Publish,
    worker: Worker,
    client: Client,
    database: Database,
    long: bool,
) -> None:
    count, key = (20_000 if long else 200), a_name()
    run_id = await start(api, await publish(LISTENING.format(key=key)))
    run = await until_status(api, run_id, "waiting")

    async def tell(number: int, *, good: bool = False) -> int:
        data = {"good": good, "n": number}
        event = {"type": "flood", "key": key, "id": f"{key}-{number}", "data": data}
        return (await api.post("/api/v1/events", json=event)).status_code

    began = time.monotonic()
    flood = asyncio.create_task(each(count, tell))
    steered: list[float] = []
    while not flood.done():
        for order, status in (("pause", "paused"), ("resume", "waiting")):
            asked = time.monotonic()
            answer = await api.post(f"/api/v1/runs/{run_id}/{order}")
            assert answer.status_code == 202, answer.text
            await until_status(api, run_id, status)
            steered.append(time.monotonic() - asked)
        await asyncio.sleep(0.2)
    seconds = time.monotonic() - began
    assert set(await flood) == {202}
    state = app.state
    outbox = Outbox(Starter(database, state.gateway, state.config, state.catalogue, state.circuit))
    # The event that it waits for comes through, behind all others.
    assert await tell(count, good=True) == 202
    async with asyncio.timeout(1200 if long else 120):
        while (await api.get(f"/api/v1/runs/{run_id}")).json()["status"] != "completed":
            await outbox.once()
            await asyncio.sleep(0.2)
    sent = await signals(client, run["workflow_id"], run["temporal_run_id"])
    assert max(sent) < 2 * MAX_EVENTS
    # So many do not fit into one.
    assert len(sent) > 1 or count < MAX_EVENTS
    # Whoever cancels is heard in a flood as well.
    other = await start(api, await publish(LISTENING.format(key=key)))
    await until_status(api, other, "waiting")
    flood = asyncio.create_task(each(200, lambda number: tell(count + 1 + number)))
    assert (await api.post(f"/api/v1/runs/{other}/cancel")).status_code == 202
    await until_status(api, other, "cancelled")
    await flood
    figures(
        "T15 flood of one run",
        events=count,
        seconds=round(seconds, 1),
        orders=len(steered),
        slowest_order=round(max(steered), 2),
        most_signals_of_an_execution=max(sent),
        executions=len(sent),
    )


async def test_a_full_quota_refuses_signals_and_no_orders(
    api: AsyncClient, publish: Publish, worker: Worker, database: Database, client: Client
) -> None:
    run_id = await start(api, await publish())
    run = await until_status(api, run_id, "waiting")
    assert (await api.post(f"/api/v1/runs/{run_id}/signals/x", json={})).status_code == 202
    execution = await client.get_workflow_handle(run["workflow_id"]).describe()
    async with database.session() as session:
        full = sa.text("UPDATE run_quotas SET events = :n, execution = :e WHERE run_id = :r")
        values = {"n": MAX_EVENTS, "e": execution.run_id, "r": run_id}
        await (await session.connection()).execute(full, values)
    refused = await api.post(f"/api/v1/runs/{run_id}/signals/x", json={})
    assert (refused.status_code, refused.json()["code"]) == (429, "LIMIT_EXCEEDED")
    assert int(refused.headers["retry-after"]) > 0
    for order, status in (("pause", "paused"), ("resume", "waiting"), ("cancel", "cancelled")):
        assert (await api.post(f"/api/v1/runs/{run_id}/{order}")).status_code == 202
        await until_status(api, run_id, status)


async def test_a_run_continues_as_new_before_its_quota_is_used_up(
    api: AsyncClient, publish: Publish, worker: Worker, client: Client
) -> None:
    run_id = await start(api, await publish())
    run = await until_status(api, run_id, "waiting")

    async def signal(_: int) -> int:
        while True:
            answer = await api.post(f"/api/v1/runs/{run_id}/signals/x", json={})
            if answer.status_code != 503:  # a server on a busy machine
                return answer.status_code

    answers = Counter(await each(MAX_EVENTS // 2 + 20, signal))
    assert set(answers) == {202}
    answer = await api.post(f"/api/v1/runs/{run_id}/signals/go", json={"data": 1})
    assert answer.status_code == 202
    await until_status(api, run_id, "completed")
    assert len(await signals(client, run["workflow_id"], run["temporal_run_id"])) > 1


async def test_without_a_quota_temporal_refuses_orders_too(
    client: Client, api: AsyncClient, publish: Publish, long: bool
) -> None:
    """The control: 10,000 signals past the API, then not even a pause gets in."""
    if not long:
        pytest.skip("the long form takes ten thousand signals")
    gateway = Gateway(client, task_queue="nobody-polls", deadline=15)
    handle: WorkflowHandle[Any, Any] = await client.start_workflow(
        "flooded", WAITING, id=a_name(), task_queue="nobody-polls"
    )
    for _ in range(100):
        await asyncio.gather(*(handle.signal("x", 1) for _ in range(100)))
    with pytest.raises(RPCError):
        await handle.signal("x", 1)
    with pytest.raises(Exception, match="signal"):
        await gateway.pause(handle.id)
    await handle.cancel()
    await handle.terminate()
