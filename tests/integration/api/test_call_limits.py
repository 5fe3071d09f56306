"""How often one may call: by key, by workspace, and with bad credentials by address."""

import pytest
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient

from api.app import create_app
from api.buckets import MOST, Buckets
from api.config import ApiConfig
from db.engine import Database
from schemas.actions import Catalogue
from tests.integration.api.conftest import API_KEY, assert_problem, client_of, counted
from tests.integration.api.test_api_keys import new_key
from workflows.gateway import Gateway


def limited(database: Database, gateway: Gateway, catalogue: Catalogue, **limits: int) -> FastAPI:
    config = ApiConfig(api_key=API_KEY, **limits)  # pyright: ignore[reportArgumentType]
    return create_app(database=database, gateway=gateway, catalogue=catalogue, config=config)


def test_a_bucket_fills_with_time() -> None:
    at = 0.0
    bucket = Buckets(60, clock=lambda: at)
    assert [bucket.take("a") for _ in range(60)] == [0.0] * 60
    assert bucket.take("a") == pytest.approx(1.0)
    assert bucket.take("b") == 0.0
    at = 1.0
    assert (bucket.wait("a"), bucket.take("a")) == (0.0, 0.0)
    assert bucket.take("a") > 0
    at = 1e6
    assert [bucket.take("a") for _ in range(61)].count(0.0) == 60
    for number in range(MOST + 10):
        bucket.take(str(number))
    assert len(bucket._levels) == MOST
    assert [Buckets(None).take("a") for _ in range(1000)] == [0.0] * 1000


async def test_calls_of_a_key(database: Database, gateway: Gateway, catalogue: Catalogue) -> None:
    app = limited(database, gateway, catalogue, rate_limit_per_key=20)
    async with client_of(app) as api:
        made = await new_key(api)
        own = {"X-API-Key": made["key"]}
        statuses = [(await api.get("/api/v1/me", headers=own)).status_code for _ in range(25)]
        assert statuses == [200] * 20 + [429] * 5
        refused = await api.get("/api/v1/me", headers=own)
        assert_problem(refused, 429, "RATE_LIMITED")
        assert 1 <= int(refused.headers["retry-after"]) <= 3
        assert (await api.get("/api/v1/me")).status_code == 200


async def test_calls_of_a_workspace(
    database: Database, gateway: Gateway, catalogue: Catalogue
) -> None:
    app = limited(database, gateway, catalogue, rate_limit_per_workspace=10)
    async with client_of(app) as api:
        keys = [(await new_key(api))["key"] for _ in range(2)]
        found = [
            (await api.get("/api/v1/me", headers={"X-API-Key": keys[n % 2]})).status_code
            for n in range(10)
        ]
    assert found == [200] * 8 + [429] * 2


async def test_bad_credentials_of_an_address(
    database: Database, gateway: Gateway, catalogue: Catalogue
) -> None:
    app = limited(database, gateway, catalogue, failures_per_minute=5)
    async with client_of(app) as api:
        good = {"X-API-Key": (await new_key(api))["key"]}
        assert (await api.get("/api/v1/me", headers=good)).status_code == 200
        guesses = [{"X-API-Key": f"wf_live_{n:012}_{'x' * 43}"} for n in range(20)]
        found = [(await api.get("/api/v1/me", headers=each)).status_code for each in guesses]
        assert found == [401] * 5 + [429] * 15
        # Nothing is looked up for it any more; who is known from there still passes.
        with counted(database) as statements:
            answer = await api.get("/api/v1/me", headers=guesses[0])
        assert_problem(answer, 429, "RATE_LIMITED")
        assert statements == []
        assert (await api.get("/api/v1/me", headers=good)).status_code == 200
        async with AsyncClient(
            transport=ASGITransport(app=app, client=("192.0.2.7", 5)), base_url="http://testserver"
        ) as elsewhere:
            answer = await elsewhere.get("/api/v1/me", headers=guesses[0])
        assert answer.status_code == 401
