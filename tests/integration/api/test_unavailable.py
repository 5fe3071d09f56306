"""Temporal or PostgreSQL away: 503 with Retry-After in time, and the way back."""

import time

import pytest
from httpx2 import AsyncClient

from api.app import create_app
from api.config import ApiConfig
from db import runs
from db.engine import Database
from schemas.actions import Catalogue
from schemas.errors import UnavailableError
from schemas.run import RunStart
from tests.integration.api.conftest import API_KEY, Publish, assert_problem, client_of
from workflows.gateway import Gateway
from workflows.setup import connect


def assert_away(answer, code: str) -> None:
    assert_problem(answer, 503, code)
    assert int(answer.headers["retry-after"]) >= 1


async def test_start_without_temporal(
    without_temporal: AsyncClient, publish: Publish, database: Database
) -> None:
    name = await publish()
    began = time.monotonic()
    answer = await without_temporal.post(
        f"/api/v1/definitions/{name}/runs", json={"input": {"n": 1}}
    )
    assert time.monotonic() - began < 2
    assert_away(answer, "TEMPORAL_UNAVAILABLE")


async def test_the_same_key_starts_the_run_later(
    without_temporal: AsyncClient, api: AsyncClient, publish: Publish
) -> None:
    at = f"/api/v1/definitions/{await publish()}/runs"
    headers = {"Idempotency-Key": at}
    answer = await without_temporal.post(at, json={"input": {"n": 1}}, headers=headers)
    assert_away(answer, "TEMPORAL_UNAVAILABLE")
    held = (await api.get("/api/v1/runs", params={"status": "queued"})).json()["items"][0]["id"]
    answer = await api.post(at, json={"input": {"n": 1}}, headers=headers)
    assert answer.status_code == 200
    assert answer.json() == {"id": held, "status": "running"}


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
    assert time.monotonic() - began < 2
    assert (detail["status"], detail["stale"]) == ("queued", True)
    assert (await without_temporal.get(f"/api/v1/runs/{run.id}/steps")).json() == []
    for path in ("pause", "resume", "cancel", "signals/go"):
        began = time.monotonic()
        answer = await without_temporal.post(f"/api/v1/runs/{run.id}/{path}", json={})
        assert time.monotonic() - began < 2
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
    assert time.monotonic() - began < 3
    assert_away(answer, "DATABASE_UNAVAILABLE")


async def test_readiness_without_database(without_database: AsyncClient) -> None:
    answer = await without_database.get("/readyz")
    assert answer.status_code == 503
    assert "database" in answer.json()["down"]
    assert (await without_database.get("/healthz")).status_code == 200


async def test_a_start_that_certainly_failed_leaves_no_row(
    database: Database, catalogue: Catalogue, publish: Publish
) -> None:
    name = await publish()
    app = create_app(
        database=database,
        gateway=Refusing(await connect("127.0.0.1:1", lazy=True)),
        catalogue=catalogue,
        config=ApiConfig(api_key=API_KEY),
    )
    async with client_of(app) as client:
        at = f"/api/v1/definitions/{name}/runs"
        assert_away(await client.post(at, json={"input": {"n": 1}}), "TEMPORAL_UNAVAILABLE")
        left = (await client.get("/api/v1/runs", params={"definition": name})).json()["items"]
        assert left == []


class Refusing(Gateway):
    """A gateway that knows for certain that the start did not get through."""

    async def start(self, start: RunStart, *, priority: int = 3) -> str:
        raise UnavailableError("Temporal cannot be reached", retry_after=5)
