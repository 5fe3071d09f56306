"""Ending a run where it stands: nothing is compensated, no worker is asked, the row knows it."""

import asyncio

import pytest
from httpx2 import AsyncClient
from sqlmodel import select

from db.audit import AuditEntry
from db.engine import Database
from schemas.run import RunStatus
from tests.integration.api.conftest import (
    WAITING,
    Publish,
    assert_problem,
    start,
    until_status,
)
from tests.integration.api.test_bulk import BULK, ended, outcomes
from tests.integration.api.test_dead_letters import outbox
from workflows.gateway import Gateway

pytestmark = pytest.mark.usefixtures("worker")
__all__ = ["outbox"]
WHY = {"reason": "the order was refunded"}
SAGA = """
name: {name}
steps:
  - id: book
    type: set
    vars: {{x: 1}}
    compensate: [{{id: undo, type: wait, signal: undone, timeout: 1h}}]
  - {{id: boom, type: fail, message: no}}
"""
PARENT = """
name: {name}
steps:
  - {{id: off, type: workflow, definition: CHILD, mode: detach, input: {{n: 1}}}}
  - {{id: sub, type: workflow, definition: CHILD, input: {{n: 2}}}}
"""


async def test_a_run_that_waits(
    api: AsyncClient, publish: Publish, gateway: Gateway, database: Database
) -> None:
    name = await publish()
    run_id = await start(api, name)
    await until_status(api, run_id, "waiting")
    at = f"/api/v1/runs/{run_id}/terminate"
    for body in ({}, {"reason": ""}, {"reason": "  "}, {"reason": "x" * 501}):
        assert_problem(await api.post(at, json=body), 422, "INVALID_INPUT")
    answer = await api.post(at, json=WHY)
    assert (answer.status_code, answer.json()) == (200, {"id": run_id, "status": "terminated"})
    # Lists read the row alone.
    listed = await api.get("/api/v1/runs", params={"definition": name})
    assert [run["status"] for run in listed.json()["items"]] == ["terminated"]
    shown = (await api.get(f"/api/v1/runs/{run_id}")).json()
    assert shown["error"]["code"] == "CANCELLED"
    assert shown["error"]["message"] == f"terminated: {WHY['reason']}"
    found = await gateway.describe(f"default/{name}/{run_id}")
    assert found is not None
    assert found.status is RunStatus.TERMINATED
    assert_problem(await api.post(at, json=WHY), 409, "CONFLICT")
    missing = await api.post("/api/v1/runs/nothing/terminate", json=WHY)
    assert_problem(missing, 404, "NOT_FOUND")
    async with database.session() as session:
        wanted = select(AuditEntry).where(
            AuditEntry.subject == run_id, AuditEntry.action == "run.terminate"
        )
        (entry,) = (await session.exec(wanted)).all()
    assert (entry.actor, entry.data) == ("key:bootstrap", WHY)
    lines = (await api.get(f"/api/v1/runs/{run_id}/logs", params={"source": "operator"})).json()
    assert [line["message"] for line in lines["items"]] == ["run.terminate by key:bootstrap"]


async def test_it_skips_a_compensation(api: AsyncClient, publish: Publish) -> None:
    run_id = await start(api, await publish(SAGA), {})
    await until_status(api, run_id, "compensating")
    # The control: a cancel does not end a compensation.
    assert (await api.post(f"/api/v1/runs/{run_id}/cancel")).status_code == 202
    assert (await api.get(f"/api/v1/runs/{run_id}")).json()["status"] == "compensating"
    answer = await api.post(f"/api/v1/runs/{run_id}/terminate", json=WHY)
    assert answer.json()["status"] == "terminated"
    run = (await api.get(f"/api/v1/runs/{run_id}")).json()
    assert (run["status"], run["stale"]) == ("terminated", False)
    steps = (await api.get(f"/api/v1/runs/{run_id}/steps")).json()
    assert {step["status"] for step in steps if "undo" in step["path"]} == {"cancelled"}
    letters = await api.get("/api/v1/dead-letters", params={"run": run_id})
    assert letters.json()["items"] == []


async def test_sub_runs_that_are_waited_for_are_cancelled(
    api: AsyncClient, publish: Publish
) -> None:
    child = await publish()
    parent = await start(api, await publish(PARENT.replace("CHILD", child)), {})

    async def children() -> dict[int, dict[str, str]]:
        found = await api.get("/api/v1/runs", params={"parent": parent})
        runs = [
            (await api.get(f"/api/v1/runs/{run['id']}")).json() for run in found.json()["items"]
        ]
        return {run["input"]["n"]: run for run in runs}

    async with asyncio.timeout(60):
        while True:
            if len(await children()) == 2:
                break
            await asyncio.sleep(0.05)
    for run in (await children()).values():
        await until_status(api, run["id"], "waiting")
    await api.post(f"/api/v1/runs/{parent}/terminate", json=WHY)
    family = await children()
    await until_status(api, family[2]["id"], "cancelled")
    assert (await children())[1]["status"] == "waiting"
    answer = await api.post(f"/api/v1/runs/{family[1]['id']}/terminate", json=WHY)
    assert answer.json()["status"] == "terminated"


@pytest.mark.usefixtures("outbox")
async def test_many_and_those_that_wait_for_their_turn(api: AsyncClient, publish: Publish) -> None:
    name = await publish(WAITING.replace("steps:", "limits: {{concurrent_runs: 1}}\nsteps:"))
    first = await start(api, name)
    await until_status(api, first, "waiting")
    at = f"/api/v1/definitions/{name}/runs"
    queued = [(await api.post(at, json={"input": {"n": n}})).json() for n in range(2)]
    assert [run["status"] for run in queued] == ["queued", "queued"]
    alone = await api.post(f"/api/v1/runs/{queued[0]['id']}/terminate", json=WHY)
    assert alone.json()["status"] == "terminated"
    body = {"action": "terminate", "filter": {"definition": name}}
    assert_problem(await api.post(BULK, json=body), 422, "INVALID_INPUT")
    other = {**body, **WHY, "action": "cancel"}
    assert_problem(await api.post(BULK, json=other), 422, "INVALID_INPUT")
    # First the one that waits: else it would be on its way to Temporal just then.
    ids = [queued[1]["id"], first]
    answer = await api.post(BULK, json={"action": "terminate", "ids": ids, **WHY})
    assert answer.status_code == 202, answer.text
    job = await ended(api, answer.json())
    assert (job["done"], job["failed"]) == (2, 0), await outcomes(api, job)
    for run_id in ids:
        run = await until_status(api, run_id, "terminated")
        assert run["error"]["message"] == f"terminated: {WHY['reason']}"
