"""Bulk jobs: one action on many, previewed, paced, counted and cancelled."""

import asyncio
import time
from collections import Counter
from typing import Any

import pytest
from httpx2 import AsyncClient
from temporalio.client import Client

from api.outbox import Outbox
from db import dead_letters
from db.engine import Database
from db.ordering import order_run
from db.runs import close
from schemas.run import ErrorInfo, RunStatus
from tests.integration.api.conftest import Publish, assert_problem, start, until_status
from tests.integration.api.test_dead_letters import LETTERS, dead, outbox
from tests.kit.own_histories import keep_own

pytestmark = pytest.mark.usefixtures("worker")
BULK = "/api/v1/bulk"
__all__ = ["outbox"]
BOOM = "name: {name}\nsteps: [{{id: boom, type: fail, message: no}}]\n"
WAITS = "name: {name}\nsteps: [{{id: go, type: wait, signal: go, timeout: 1h}}]\n"
HELD = """
name: {name}
steps:
  - {{id: boom, type: http, on_error: pause, retry: {{attempts: 1}},
     with: {{url: "http://127.0.0.1:1/nothing"}}}}
"""


async def ended(api: AsyncClient, job: dict[str, Any]) -> dict[str, Any]:
    """Poll a job until it has ended."""
    async with asyncio.timeout(120):
        while job["state"] in ("queued", "running"):
            await asyncio.sleep(0.1)
            job = (await api.get(f"{BULK}/{job['id']}")).json()
    return job


async def ordered(api: AsyncClient, body: dict[str, Any], path: str = BULK) -> dict[str, Any]:
    """Order a job and wait for its end."""
    answer = await api.post(path, json=body)
    assert answer.status_code == 202, answer.text
    return await ended(api, answer.json())


async def outcomes(api: AsyncClient, job: dict[str, Any]) -> list[dict[str, Any]]:
    """Give all items of a job."""
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        parameters = {"limit": 200, **({"cursor": cursor} if cursor else {})}
        page = (await api.get(f"{BULK}/{job['id']}/items", params=parameters)).json()
        found += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


async def fill(database: Database, name: str, count: int) -> None:
    """Store runs that failed before they began, and with them their dead letters."""
    async with database.session() as session:
        for _ in range(count):
            run = await order_run(session, "default", definition=name, input={})
            error = ErrorInfo(code="INTERNAL", message="never started")
            await close(session, "default", run.run_id, RunStatus.FAILED, error=error)


async def test_redriving_many(
    api: AsyncClient, publish: Publish, database: Database, client: Client, long: bool
) -> None:
    count = 1000 if long else 30
    name = await publish("name: {name}\nsteps: [{{id: nap, type: set, vars: {{x: 1}}}}]\n")
    await fill(database, name, count)
    body = {"filter": {"definition": name}, "rate": 100}
    seen = (await api.post(f"{LETTERS}/redrive", json={**body, "preview": True})).json()
    assert (seen["count"], seen["blocked"]) == (count, 0)
    assert len(seen["items"]) == min(count, 100)

    began = time.monotonic()
    answer = await api.post(f"{LETTERS}/redrive", json=body)
    assert answer.status_code == 202, answer.text
    job = await ended(api, answer.json())
    took = time.monotonic() - began
    assert (job["state"], job["done"], job["failed"]) == ("completed", count, 0)
    assert took > count / 100 * 0.8 - 1
    items = await outcomes(api, job)
    assert [item["position"] for item in items] == list(range(1, count + 1))
    assert len({item["run_id"] for item in items}) == count
    again = await api.post(f"{LETTERS}/redrive", json=body)
    assert_problem(again, 409, "CONFLICT")
    async with database.session() as session:
        wanted = dead_letters.Wanted(definition=name)
        page = await dead_letters.list_page(session, "default", wanted, limit=200)
    assert {letter.state.value for letter in page.items} <= {"redriving", "redriven"}
    await keep_own(client, f"sojourn-bulk/default/{job['id']}", "bulk")


async def test_an_item_that_cannot_be_tried_again_says_why(
    api: AsyncClient, publish: Publish, outbox: Outbox
) -> None:
    name = await publish(BOOM)
    first, second = [await dead(api, name, {}) for _ in range(2)]
    gone = await api.post(f"{LETTERS}/{first['id']}/discard", json={"reason": "a test"})
    assert gone.status_code == 200
    ids = [first["id"], second["id"], "nothing"]
    body = {"action": "redrive", "ids": ids, "rate": 50}
    seen = (await api.post(BULK, json={**body, "preview": True})).json()
    assert [item["fit"] for item in seen["items"]] == ["blocked", "safe", "blocked"]
    job = await ordered(api, body)
    assert (job["done"], job["failed"]) == (1, 2)
    items = await outcomes(api, job)
    assert [item["code"] for item in items] == ["CONFLICT", None, "NOT_FOUND"]
    await until_status(api, items[1]["run_id"], "failed")


async def test_actions_on_runs(api: AsyncClient, publish: Publish) -> None:
    name = await publish(WAITS)
    runs = [await start(api, name, {}) for _ in range(4)]
    for run_id in runs:
        await until_status(api, run_id, "waiting")
    only = {"filter": {"definition": name}, "rate": 50}
    for action, status in (("pause", "paused"), ("resume", "waiting")):
        job = await ordered(api, {"action": action, **only})
        assert (job["done"], job["failed"]) == (4, 0)
        for run_id in runs:
            await until_status(api, run_id, status)
    newer = await api.post(
        f"/api/v1/definitions/{name}/versions",
        params={"publish": True},
        content=(WAITS + "title: newer\n").format(name=name),
        headers={"content-type": "application/yaml"},
    )
    assert newer.status_code == 201, newer.text
    move = {"action": "migrate", "version": 2, "ids": runs[:2], "rate": 50}
    seen = (await api.post(BULK, json={**move, "preview": True})).json()
    assert [item["fit"] for item in seen["items"]] == ["safe", "safe"]
    assert (await ordered(api, move))["done"] == 2
    retried = await ordered(api, {"action": "retry", "ids": runs[:1]})
    assert (retried["done"], retried["failed"]) == (0, 1)
    assert "waits for a decision" in (await outcomes(api, retried))[0]["message"]
    job = await ordered(api, {"action": "cancel", **only})
    assert job["done"] == 4
    versions = Counter([(await until_status(api, run, "cancelled"))["version"] for run in runs])
    assert versions == {1: 2, 2: 2}


async def test_held_steps_are_tried_again(api: AsyncClient, publish: Publish) -> None:
    name = await publish(HELD)
    run_id = await start(api, name, {})
    await until_status(api, run_id, "paused")
    body = {"action": "retry", "ids": [run_id]}
    seen = (await api.post(BULK, json={**body, "preview": True})).json()
    assert seen["items"][0]["points"] == ["boom"]
    assert (await ordered(api, body))["done"] == 1
    path = f"/api/v1/runs/{run_id}/steps"
    async with asyncio.timeout(120):
        while (await api.get(path)).json()[0]["attempts"] < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert (await api.post(f"/api/v1/runs/{run_id}/cancel")).status_code == 202


async def test_a_cancelled_job_leaves_the_rest(
    api: AsyncClient, publish: Publish, database: Database
) -> None:
    name = await publish(BOOM)
    await fill(database, name, 20)
    answer = await api.post(f"{LETTERS}/redrive", json={"filter": {"definition": name}, "rate": 1})
    path = f"{BULK}/{answer.json()['id']}"
    async with asyncio.timeout(120):
        while not (await api.get(path)).json()["done"]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    job = (await api.post(f"{path}/cancel")).json()
    assert job["state"] == "cancelled"
    states = Counter(item["state"] for item in await outcomes(api, job))
    assert states["skipped"] >= 15
    assert states["pending"] == 0
    assert_problem(await api.post(f"{path}/cancel"), 409, "CONFLICT")
    open_ = await api.get(LETTERS, params={"definition": name, "state": "open", "limit": 200})
    assert len(open_.json()["items"]) >= 15


@pytest.mark.parametrize(
    "body",
    [
        {"action": "pause"},
        {"action": "pause", "letters": {}},
        {"action": "redrive", "filter": {}},
        {"action": "migrate", "filter": {}},
        {"action": "pause", "filter": {}, "version": 1},
        {"action": "pause", "filter": {}, "ids": ["a"]},
        {"action": "redrive", "letters": {}, "mapping": {"a": "b"}},
    ],
)
async def test_orders_that_make_no_sense(api: AsyncClient, body: dict[str, Any]) -> None:
    assert_problem(await api.post(BULK, json=body), 422, "INVALID_INPUT")
