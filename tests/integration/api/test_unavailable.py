"""Temporal away: starts are kept. PostgreSQL away: 503 with Retry-After. And the way back."""

import asyncio
import time
from typing import Any

import pytest
from httpx2 import AsyncClient

from api.app import create_app
from api.circuit import Circuit
from api.config import ApiConfig
from api.outbox import Outbox
from api.starting import Starter
from db import runs
from db.engine import Database
from schemas.actions import Catalogue
from schemas.errors import LimitError, UnavailableError
from schemas.run import RunStart
from tests.integration.api.conftest import (
    API_KEY,
    WAITING,
    Publish,
    a_name,
    assert_problem,
    client_of,
    start,
)
from workflows.gateway import Gateway
from workflows.setup import connect


def assert_away(answer, code: str) -> None:
    assert_problem(answer, 503, code)
    assert int(answer.headers["retry-after"]) >= 1


async def test_a_start_without_temporal_is_kept(
    without_temporal: AsyncClient, api: AsyncClient, publish: Publish, outbox: Outbox
) -> None:
    at = f"/api/v1/definitions/{await publish()}/runs"
    kept = []
    for n in range(3):
        began = time.monotonic()
        answer = await without_temporal.post(at, json={"input": {"n": n}})
        assert time.monotonic() - began < 8
        assert answer.status_code == 202, answer.text
        assert answer.json()["status"] == "queued"
        kept.append(answer.json()["id"])
        assert answer.headers["location"] == f"/api/v1/runs/{kept[-1]}"
    await until_started(outbox, api, kept)


async def test_the_second_start_does_not_wait_for_the_deadline(
    without_temporal: AsyncClient, publish: Publish, database: Database
) -> None:
    at = f"/api/v1/definitions/{await publish()}/runs"
    await without_temporal.post(at, json={"input": {"n": 1}})
    began = time.monotonic()
    answer = await without_temporal.post(at, json={"input": {"n": 1}})
    assert answer.status_code == 202
    assert time.monotonic() - began < 1.2


async def test_the_same_key_starts_the_run_at_once(
    without_temporal: AsyncClient, api: AsyncClient, publish: Publish
) -> None:
    at = f"/api/v1/definitions/{await publish()}/runs"
    headers = {"Idempotency-Key": at}
    answer = await without_temporal.post(at, json={"input": {"n": 1}}, headers=headers)
    assert answer.status_code == 202
    held = answer.json()["id"]
    answer = await without_temporal.post(at, json={"input": {"n": 1}}, headers=headers)
    assert (answer.status_code, answer.json()["id"]) == (200, held)
    answer = await api.post(at, json={"input": {"n": 1}}, headers=headers)
    assert answer.status_code == 200
    assert answer.json() == {"id": held, "status": "running", "position": None}


async def test_a_submission_without_temporal_is_kept(
    without_temporal: AsyncClient, api: AsyncClient, publish: Publish, outbox: Outbox
) -> None:
    name = await publish("name: {name}\nsteps: [{{id: a, type: set, vars: {{x: 1}}}}]\n")
    form = {
        "definition": name,
        "fields": {"type": "object", "properties": {"email": {"type": "string"}}},
    }
    assert (await api.put(f"/api/v1/forms/{name}", json=form)).status_code in (200, 201)
    answer = await without_temporal.post(
        f"/api/v1/forms/{name}/submissions", json={"fields": {"email": f"{name}@example.com"}}
    )
    assert answer.status_code == 202, answer.text
    assert answer.json()["lead_id"]
    await until_started(outbox, api, [answer.json()["run_id"]])


async def test_so_many_starts_are_kept_and_no_more(
    database_url: str, catalogue: Catalogue, publish: Publish, api: AsyncClient, outbox: Outbox
) -> None:
    gateway = Refusing(await connect("127.0.0.1:1", lazy=True))
    at = f"/api/v1/definitions/{await publish()}"
    kind = a_name("placed")
    trigger = {"kind": "event", "event": kind, "input": {"n": "{{ event.data.n }}"}}
    assert (await api.post(f"{at}/triggers", json=trigger)).status_code == 201
    event = {"type": kind, "key": "k", "data": {"n": 1}}
    config = ApiConfig(api_key=API_KEY)
    database = Database(database_url, max_queued_starts=3)
    app = create_app(database=database, gateway=gateway, catalogue=catalogue, config=config)
    async with client_of(app) as client:
        answers = [await client.post(f"{at}/runs", json={"input": {"n": 1}}) for _ in range(2)]
        answers.append(await client.post("/api/v1/events", json=event))
        assert [answer.status_code for answer in answers] == [202, 202, 202]
        assert answers[-1].json()["started"] == 1
        refused = await client.post(f"{at}/runs", json={"input": {"n": 1}})
        assert_away(refused, "TEMPORAL_UNAVAILABLE")
        # A trigger's start is refused with what has fired it, for its sender to try again.
        assert_away(await client.post("/api/v1/events", json=event), "TEMPORAL_UNAVAILABLE")
    await database.close()
    path = {"definition": at.rpartition("/")[2], "limit": 200}
    found = (await api.get("/api/v1/runs", params=path)).json()["items"]
    assert len(found) == 3
    await until_started(outbox, api, [run["id"] for run in found])


async def test_so_many_starts_wait_for_one_definition_and_no_more(
    database_url: str, gateway: Gateway, catalogue: Catalogue, publish: Publish, api: AsyncClient
) -> None:
    name = await publish(WAITING.replace("steps:", "limits: {{concurrent_runs: 1}}\nsteps:"))
    at, kind = f"/api/v1/definitions/{name}", a_name("placed")
    trigger = {"kind": "event", "event": kind, "input": {"n": "{{ event.data.n }}"}}
    shown = (await api.post(f"{at}/triggers", json=trigger)).json()
    first = await start(api, name)
    database = Database(database_url, max_queued_starts=2)
    config = ApiConfig(api_key=API_KEY)
    app = create_app(database=database, gateway=gateway, catalogue=catalogue, config=config)
    async with client_of(app) as client:
        told = [
            (await client.post("/api/v1/events", json={"type": kind, "key": "k", "data": {"n": n}}))
            for n in range(3)
        ]
        assert [answer.json()["started"] for answer in told] == [1, 1, 0]
        answer = await client.post(f"{at}/runs", json={"input": {"n": 1}})
        assert_problem(answer, 429, "RATE_LIMITED")
    await database.close()
    listed = (await api.get(f"{at}/triggers")).json()["items"]
    assert [item["last_error"][:12] for item in listed] == ["RATE_LIMITED"], shown
    waiting = await api.get("/api/v1/runs", params={"definition": name, "status": "queued"})
    for run_id in [run["id"] for run in waiting.json()["items"]] + [first]:
        assert (await api.post(f"/api/v1/runs/{run_id}/cancel")).status_code == 202


async def until_started(outbox: Outbox, api: AsyncClient, run_ids: list[str]) -> None:
    """Have the outbox make passes until all have started, as its loop does."""

    async def queued() -> set[str]:
        await outbox.once()
        found = await api.get("/api/v1/runs", params={"status": "queued", "limit": 200})
        return {run["id"] for run in found.json()["items"]} & set(run_ids)

    async with asyncio.timeout(180):
        while True:
            if not await queued():
                return
            await asyncio.sleep(0.1)


@pytest.fixture
def outbox(database: Database, gateway: Gateway, catalogue: Catalogue) -> Outbox:
    """The API process's loop, a pass at a time."""
    config = ApiConfig(api_key=API_KEY)
    return Outbox(Starter(database, gateway, config, catalogue, Circuit(gateway)))


async def test_reading_and_steering_without_temporal(
    without_temporal: AsyncClient, publish: Publish, database: Database
) -> None:
    name = await publish()
    async with database.session() as session:
        run = await runs.insert_queued(
            session, "default", definition=name, version=1, input={"n": 1}
        )
    began = time.monotonic()
    detail = (await without_temporal.get(f"/api/v1/runs/{run.id}")).json()
    assert time.monotonic() - began < 8
    assert (detail["status"], detail["stale"]) == ("queued", True)
    assert (await without_temporal.get(f"/api/v1/runs/{run.id}/steps")).json() == []
    for path in ("pause", "resume", "cancel", "terminate", "signals/go"):
        began = time.monotonic()
        body = {"reason": "a test"} if path == "terminate" else {}
        answer = await without_temporal.post(f"/api/v1/runs/{run.id}/{path}", json=body)
        assert time.monotonic() - began < 8
        assert_away(answer, "TEMPORAL_UNAVAILABLE")
    assert_away(await without_temporal.get(f"/api/v1/runs/{run.id}/events"), "TEMPORAL_UNAVAILABLE")
    answer = await without_temporal.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["down"] == ["temporal", "workers"]
    assert (await without_temporal.get("/healthz")).status_code == 200
    async with database.session() as session:
        await runs.remove_unstarted(session, "default", run.id)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/definitions"),
        ("POST", "/api/v1/definitions/x/runs"),
        ("GET", "/api/v1/runs"),
        ("GET", "/api/v1/runs/x"),
        ("GET", "/api/v1/runs/x/events"),
        ("POST", "/api/v1/runs/x/cancel"),
        ("POST", "/api/v1/forms/x/submissions"),
        ("GET", "/api/v1/leads"),
    ],
)
async def test_without_database(without_database: AsyncClient, method: str, path: str) -> None:
    began = time.monotonic()
    answer = await without_database.request(
        method, path, json={"fields": {}} if "forms" in path else {}
    )
    assert time.monotonic() - began < 10
    assert_away(answer, "DATABASE_UNAVAILABLE")


async def test_readiness_without_database(without_database: AsyncClient) -> None:
    answer = await without_database.get("/readyz")
    assert answer.status_code == 503
    assert "database" in answer.json()["down"]
    assert (await without_database.get("/healthz")).status_code == 200


async def test_a_start_that_temporal_refuses_leaves_no_row(
    database: Database, catalogue: Catalogue, publish: Publish
) -> None:
    name = await publish()
    app = create_app(
        database=database,
        gateway=TooLarge(await connect("127.0.0.1:1", lazy=True)),
        catalogue=catalogue,
        config=ApiConfig(api_key=API_KEY),
    )
    async with client_of(app) as client:
        at = f"/api/v1/definitions/{name}/runs"
        for headers in ({}, {"Idempotency-Key": at}):
            answer = await client.post(at, json={"input": {"n": 1}}, headers=headers)
            assert_problem(answer, 413, "LIMIT_EXCEEDED")
        left = (await client.get("/api/v1/runs", params={"definition": name})).json()["items"]
        assert left == []


class Refusing(Gateway):
    """A gateway that knows for certain that the start did not get through."""

    async def start(self, start: RunStart, *, priority: int = 3, **_: Any) -> str:
        raise UnavailableError("Temporal cannot be reached", retry_after=5)


class TooLarge(Gateway):
    """A gateway whose Temporal takes no start, because of its size."""

    async def start(self, start: RunStart, *, priority: int = 3, **_: Any) -> str:
        raise LimitError("Blob data size exceeds limit")
