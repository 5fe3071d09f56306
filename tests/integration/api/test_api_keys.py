"""API keys: made, used, narrowed, rotated, revoked; what a key cannot do."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient

from api import credentials
from db import api_keys
from db.api_keys import ApiKey
from db.engine import Database
from tests.integration.api.conftest import Publish, a_name, assert_problem, counted

Call = Callable[..., Awaitable[AsyncClient]]


@pytest.fixture
async def caller(app: FastAPI) -> AsyncIterator[Call]:
    """Call it with a key's text for a client that sends it."""
    async with AsyncExitStack() as stack:

        async def made(key: str) -> AsyncClient:
            return await stack.enter_async_context(
                AsyncClient(
                    transport=ASGITransport(app=app),
                    base_url="http://testserver",
                    headers={"Authorization": f"Bearer {key}"},
                )
            )

        yield made


async def new_key(api: AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await api.post("/api/v1/api-keys", json={"name": "a key", **body})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_a_key_is_shown_once_and_stored_as_a_hash(
    api: AsyncClient, caller: Call, database: Database
) -> None:
    made = await new_key(api, name="booking site", role="operator")
    assert api_keys.split(made["key"]) is not None
    assert made["prefix"] == f"wf_live_{made['id']}"
    assert made["key"].endswith(made["last4"])
    secret = made["key"].rpartition("_")[2]
    for path in ("/api/v1/api-keys", f"/api/v1/api-keys/{made['id']}"):
        shown = await api.get(path)
        assert shown.status_code == 200
        assert secret not in shown.text
    async with database.session() as session:
        row = await session.get(ApiKey, made["id"])
        assert row is not None
        assert secret not in str(row.model_dump())
        assert row.secret_hash != secret
    mine = await (await caller(made["key"])).get("/api/v1/me")
    assert mine.json() == {
        "workspace": "default",
        "actor": f"key:{made['id']}",
        "role": "operator",
        "scopes": [],
        "grants": {},
        "installation": False,
    }


async def test_wrong_keys(api: AsyncClient, caller: Call) -> None:
    made = await new_key(api)
    last = "0" if made["key"][-1] != "0" else "1"
    other = "".join(reversed(made["id"]))
    for wrong in (
        made["key"][:-1] + last,
        made["key"].replace(made["id"], other),
        made["key"] + "x",
        "wf_live_",
        made["prefix"],
        made["key"].upper(),
    ):
        answer = await (await caller(wrong)).get("/api/v1/me")
        assert_problem(answer, 401, "UNAUTHORIZED")
    # Only from headers.
    anyone = await caller("none")
    answer = await anyone.get("/api/v1/me", params={"api_key": made["key"], "key": made["key"]})
    assert_problem(answer, 401, "UNAUTHORIZED")


async def test_roles_grants_and_scopes(api: AsyncClient, caller: Call, publish: Publish) -> None:
    name, other = await publish(), await publish()
    viewer = await caller((await new_key(api, role="viewer", grants={name: "operator"}))["key"])
    run = await viewer.post(f"/api/v1/definitions/{name}/runs", json={"input": {"n": 1}})
    assert run.status_code == 201, run.text
    run_id = run.json()["id"]
    refused = await viewer.post(f"/api/v1/definitions/{other}/runs", json={"input": {"n": 1}})
    assert_problem(refused, 403, "FORBIDDEN")
    # By the run's definition; runs of others, and runs that are not there, answer alike.
    signal = await viewer.post(f"/api/v1/runs/{run_id}/cancel")
    assert signal.status_code == 202, signal.text
    foreign = (
        await api.post(f"/api/v1/definitions/{other}/runs", json={"input": {"n": 1}})
    ).json()["id"]
    for unseen in (foreign, "00000000-0000-7000-8000-000000000000"):
        assert_problem(await viewer.post(f"/api/v1/runs/{unseen}/cancel"), 403, "FORBIDDEN")
    assert_problem(
        await viewer.post(f"/api/v1/definitions/{name}/versions", content="x"), 403, "FORBIDDEN"
    )
    narrow = await caller((await new_key(api, role="admin", scopes=["runs:write"]))["key"])
    assert (await narrow.get("/api/v1/runs")).status_code == 200
    assert (await narrow.get("/api/v1/me")).status_code == 200
    for path in ("/api/v1/definitions", "/api/v1/secrets", "/api/v1/api-keys"):
        assert_problem(await narrow.get(path), 403, "FORBIDDEN")
    for scopes in (["runs:delete"], ["nothing:read"], ["runs"], ["*"]):
        answer = await api.post("/api/v1/api-keys", json={"name": "x", "scopes": scopes})
        assert_problem(answer, 422, "INVALID_INPUT")


async def test_no_key_makes_a_greater_one(api: AsyncClient, caller: Call) -> None:
    narrow = await caller(
        (await new_key(api, role="admin", scopes=["access:write", "runs:read"]))["key"]
    )
    path = "/api/v1/api-keys"
    for body in ({}, {"scopes": ["runs:write"]}, {"scopes": ["secrets:read"]}):
        answer = await narrow.post(path, json={"name": "more", "role": "admin", **body})
        assert answer.status_code in (403, 422), answer.text
    fits = await narrow.post(path, json={"name": "less", "scopes": ["runs:read"]})
    assert fits.status_code == 201, fits.text
    whole = await new_key(api, role="admin")
    assert_problem(await narrow.post(f"{path}/{whole['id']}/rotate", json={}), 403, "FORBIDDEN")
    assert_problem(
        await narrow.put("/api/v1/members/ada", json={"role": "admin"}), 403, "FORBIDDEN"
    )
    full = await caller(whole["key"])
    foreign = await full.post(path, json={"name": "x", "workspace": "other"})
    assert_problem(foreign, 403, "FORBIDDEN")
    assert_problem(await full.get("/api/v1/workspaces"), 403, "FORBIDDEN")


async def test_rotation_with_overlap_and_without(
    api: AsyncClient, caller: Call, database: Database
) -> None:
    old = await new_key(api, role="viewer", scopes=["runs:read"])
    answer = await api.post(f"/api/v1/api-keys/{old['id']}/rotate", json={"overlap": "24h"})
    assert answer.status_code == 201, answer.text
    new = answer.json()
    assert (new["role"], new["scopes"]) == ("viewer", ["runs:read"])
    for key in (old["key"], new["key"]):
        assert (await (await caller(key)).get("/api/v1/runs")).status_code == 200
    shown = (await api.get(f"/api/v1/api-keys/{old['id']}")).json()
    assert shown["rotated_to"] == new["id"]
    ends = datetime.fromisoformat(shown["expires_at"])
    assert timedelta(hours=23) < ends - datetime.now(UTC) <= timedelta(hours=24)
    again = await api.post(f"/api/v1/api-keys/{old['id']}/rotate", json={})
    assert_problem(again, 409, "CONFLICT")
    gone = await api.post(f"/api/v1/api-keys/{new['id']}/rotate", json={"overlap": "0s"})
    assert gone.status_code == 201
    await until_refused(await caller(new["key"]))
    bad = await api.post(f"/api/v1/api-keys/{new['id']}/rotate", json={"overlap": "91d"})
    assert_problem(bad, 422, "INVALID_INPUT")


async def until_refused(client: AsyncClient) -> float:
    """Seconds until the client's key passes no more; at most those that the product promises."""
    clock = asyncio.get_running_loop()
    begun = clock.time()
    async with asyncio.timeout(credentials.KEPT + 5):
        while (await client.get("/api/v1/me")).status_code == 200:  # noqa: ASYNC110 - it is asked
            await asyncio.sleep(0.05)
    return clock.time() - begun


async def test_revocation_counts_within_five_seconds(api: AsyncClient, caller: Call) -> None:
    made = await new_key(api)
    client = await caller(made["key"])
    assert (await client.get("/api/v1/me")).status_code == 200
    assert (await api.delete(f"/api/v1/api-keys/{made['id']}")).status_code == 204
    assert await until_refused(client) <= credentials.KEPT
    assert_problem(await client.get("/api/v1/me"), 401, "UNAUTHORIZED")
    assert (await api.delete(f"/api/v1/api-keys/{made['id']}")).status_code == 204
    missing = await api.delete("/api/v1/api-keys/000000000000")
    assert_problem(missing, 404, "NOT_FOUND")


async def test_expiry_is_exact(api: AsyncClient, caller: Call) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=1.5)
    made = await new_key(api, expires_at=soon.isoformat())
    client = await caller(made["key"])
    assert (await client.get("/api/v1/me")).status_code == 200
    await until_refused(client)
    assert soon <= datetime.now(UTC) <= soon + timedelta(seconds=1)
    passed = datetime.now(UTC) - timedelta(seconds=1)
    for moment in (passed.isoformat(), "2030-01-01T00:00:00"):
        answer = await api.post("/api/v1/api-keys", json={"name": "x", "expires_at": moment})
        assert_problem(answer, 422, "INVALID_INPUT")


async def test_a_known_key_costs_no_query_and_its_use_is_written_once(
    api: AsyncClient, caller: Call, database: Database
) -> None:
    made = await new_key(api)
    client = await caller(made["key"])
    assert (await client.get("/api/v1/me")).status_code == 200
    async with asyncio.timeout(5):
        while True:
            async with database.session() as session:
                row = await session.get(ApiKey, made["id"])
            if row is not None and row.last_used_at is not None:
                break
            await asyncio.sleep(0.02)
    with counted(database) as statements:
        for _ in range(20):
            assert (await client.get("/api/v1/me")).status_code == 200
    assert statements == []
    async with database.session() as session:
        again = await session.get(ApiKey, made["id"])
        assert again is not None
        assert again.last_used_at == row.last_used_at


async def test_what_was_done_is_in_the_audit(api: AsyncClient, database: Database) -> None:
    made = await new_key(api, name=a_name("audited"))
    new = (await api.post(f"/api/v1/api-keys/{made['id']}/rotate", json={})).json()
    await api.delete(f"/api/v1/api-keys/{made['id']}")
    async with database.session() as session:
        rows = (
            await (await session.connection()).execute(
                sa.text(
                    "SELECT actor, action, data::text FROM audit_entries"
                    " WHERE subject = :id ORDER BY seq"
                ),
                {"id": made["id"]},
            )
        ).all()
    assert [(row[0], row[1]) for row in rows] == [
        ("key:bootstrap", "api_key.create"),
        ("key:bootstrap", "api_key.rotate"),
        ("key:bootstrap", "api_key.revoke"),
    ]
    assert new["id"] in rows[1][2]
    assert made["key"].rpartition("_")[2] not in str(rows)
