"""Runs on the real server: start, watch, steer, signal."""

import asyncio

from httpx2 import AsyncClient
from temporalio.client import Client
from temporalio.worker import Worker

from db.engine import Database
from tests.integration.api.conftest import (
    Publish,
    a_name,
    assert_problem,
    counted,
    start,
    until_status,
)

CRON = """
name: {name}
steps:
  - {{id: sleep, type: delay, for: 3d}}
"""


async def test_a_run_from_start_to_end(api: AsyncClient, publish: Publish, worker: Worker) -> None:
    name = await publish()
    answer = await api.post(f"/api/v1/definitions/{name}/runs", json={"input": {"n": 1}})
    assert answer.status_code == 201
    run_id = answer.json()["id"]
    assert answer.headers["location"] == f"/api/v1/runs/{run_id}"
    run = await until_status(api, run_id, "waiting")
    assert run["stale"] is False
    assert run["workflow_id"] == f"default/{name}/{run_id}"
    assert run["temporal_run_id"]
    assert "go" in run["waiting_for"]
    assert run["until"] is not None
    assert run["correlation_id"] == answer.headers["x-request-id"]

    answer = await api.post(f"/api/v1/runs/{run_id}/signals/go", json={"data": {"yes": 1}})
    assert answer.status_code == 202
    run = await until_status(api, run_id, "completed")
    assert run["output"] == {"yes": 1}
    steps = (await api.get(f"/api/v1/runs/{run_id}/steps")).json()
    assert [(step["path"], step["type"], step["status"]) for step in steps] == [
        ("more", "set", "completed"),
        ("go", "wait", "completed"),
    ]
    assert all(step["duration_ms"] >= 0 for step in steps)


async def test_pause_resume_cancel(api: AsyncClient, publish: Publish, worker: Worker) -> None:
    run_id = await start(api, await publish())
    await until_status(api, run_id, "waiting")
    answer = await api.post(f"/api/v1/runs/{run_id}/pause")
    assert answer.status_code == 202
    assert answer.json()["id"] == run_id
    await until_status(api, run_id, "paused")
    assert (await api.post(f"/api/v1/runs/{run_id}/resume")).status_code == 202
    await until_status(api, run_id, "waiting")
    assert (await api.post(f"/api/v1/runs/{run_id}/cancel")).status_code == 202
    await until_status(api, run_id, "cancelled")
    for path in ("pause", "resume", "cancel", "signals/go"):
        answer = await api.post(f"/api/v1/runs/{run_id}/{path}", json={})
        assert_problem(answer, 409, "CONFLICT")


async def test_open_steps_are_live(api: AsyncClient, publish: Publish, worker: Worker) -> None:
    run_id = await start(api, await publish(CRON))
    await until_status(api, run_id, "waiting")
    steps = (await api.get(f"/api/v1/runs/{run_id}/steps")).json()
    assert [(step["path"], step["status"]) for step in steps] == [("sleep", "waiting")]
    assert steps[0]["until"] is not None
    await api.post(f"/api/v1/runs/{run_id}/cancel")


async def test_termination_shows_at_once(
    api: AsyncClient, publish: Publish, worker: Worker, client: Client
) -> None:
    run_id = await start(api, await publish())
    run = await until_status(api, run_id, "waiting")
    await client.get_workflow_handle(run["workflow_id"]).terminate("test")
    run = (await api.get(f"/api/v1/runs/{run_id}")).json()
    assert (run["status"], run["error"]["code"]) == ("terminated", "CANCELLED")
    steps = (await api.get(f"/api/v1/runs/{run_id}/steps")).json()
    assert steps[1]["status"] == "cancelled"


async def test_twenty_rivals_with_one_key_make_one_run(
    api: AsyncClient, publish: Publish, worker: Worker
) -> None:
    name = await publish()
    answers = await asyncio.gather(
        *(
            api.post(
                f"/api/v1/definitions/{name}/runs",
                json={"input": {"n": 1}},
                headers={"Idempotency-Key": name},
            )
            for _ in range(20)
        )
    )
    assert {answer.status_code for answer in answers} <= {200, 201}
    assert [answer.status_code for answer in answers].count(201) == 1
    assert len({answer.json()["id"] for answer in answers}) == 1
    listed = (await api.get("/api/v1/runs", params={"definition": name})).json()["items"]
    assert len(listed) == 1

    answer = await api.post(
        f"/api/v1/definitions/{name}/runs",
        json={"input": {"n": 2}},
        headers={"Idempotency-Key": name},
    )
    assert_problem(answer, 422, "CONFLICT")


async def test_a_key_outlives_its_version(
    api: AsyncClient, publish: Publish, worker: Worker
) -> None:
    name = await publish()
    at = f"/api/v1/definitions/{name}"
    headers = {"Idempotency-Key": name}
    first = await api.post(f"{at}/runs", json={"input": {"n": 1}}, headers=headers)
    await api.post(f"{at}/versions/1/deprecate")
    again = await api.post(f"{at}/runs", json={"input": {"n": 1}}, headers=headers)
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])


async def test_leads_of_runs(api: AsyncClient, publish: Publish, worker: Worker) -> None:
    name = await publish()
    at = f"/api/v1/definitions/{name}/runs"
    email = f"{name}@Example.com"
    body = {"input": {"n": 1}, "lead": {"email": email, "name": "Ada", "fields": {"a": 1}}}
    run_id = (await api.post(at, json=body)).json()["id"]
    lead_id = (await api.get(f"/api/v1/runs/{run_id}")).json()["lead_id"]
    lead = (await api.get(f"/api/v1/leads/{lead_id}")).json()
    assert (lead["email"], lead["name"], lead["fields"]) == (email.lower(), "Ada", {"a": 1})
    again = await api.post(at, json={"input": {"n": 2}, "lead": lead_id})
    assert again.status_code == 201
    listed = (await api.get("/api/v1/runs", params={"lead": lead_id})).json()["items"]
    assert len(listed) == 2
    answer = await api.post(at, json={"input": {"n": 1}, "lead": a_name()})
    assert_problem(answer, 404, "NOT_FOUND")


async def test_a_start_costs_few_statements(
    api: AsyncClient, publish: Publish, worker: Worker, database: Database
) -> None:
    name = await publish()
    await start(api, name)
    with counted(database) as statements:
        await start(api, name)
    mine = [statement for statement in statements if "WITH hit" not in statement]
    # Version, audit row, run, then the mark that Temporal has it.
    assert len(mine) <= 4, mine
