"""Users by tokens of an issuer: workspace and role from claims, or from the members' table."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient
from pytest_httpserver import HTTPServer

from activities._client import guarded_client
from activities._ssrf import TargetPolicy
from api.app import create_app
from api.config import ApiConfig
from api.fetching import fetcher
from db.engine import Database
from schemas.actions import Catalogue
from tests.integration.api.conftest import API_KEY, Publish, a_name, assert_problem, client_of
from tests.servers.oidc_issuer import LoopbackIssuer
from workflows.gateway import Gateway


@dataclass
class Desk:
    """An API that takes an issuer's tokens."""

    app: FastAPI
    issuer: LoopbackIssuer
    admin: AsyncClient
    stack: AsyncExitStack

    async def user(self, **claims: Any) -> AsyncClient:
        """A client that sends a token with these claims."""
        token = self.issuer.token("es", **claims)
        return await self.stack.enter_async_context(
            AsyncClient(
                transport=ASGITransport(app=self.app),
                base_url="http://testserver",
                headers={"Authorization": f"Bearer {token}"},
            )
        )


@pytest.fixture
async def desk(
    httpserver: HTTPServer, database: Database, gateway: Gateway, catalogue: Catalogue
) -> AsyncIterator[Desk]:
    policy = TargetPolicy.of(("127.0.0.0/8",), tuple(range(1024, 65536)))
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(guarded_client(policy))
        fetch = fetcher(lambda: client)
        issuer = LoopbackIssuer(httpserver, fetch)
        app = create_app(
            database=database,
            gateway=gateway,
            catalogue=catalogue,
            config=ApiConfig(api_key=API_KEY, oidc=replace(issuer.config)),
            fetch=fetch,
        )
        admin = await stack.enter_async_context(client_of(app))
        yield Desk(app, issuer, admin, stack)


async def test_claims_give_workspace_and_role(desk: Desk) -> None:
    user = await desk.user(sub="ada", sojourn_workspace="default", sojourn_role="operator")
    mine = (await user.get("/api/v1/me")).json()
    assert (mine["actor"], mine["workspace"], mine["role"]) == ("user:ada", "default", "operator")
    assert_problem(await user.get("/api/v1/secrets"), 403, "FORBIDDEN")
    several = await desk.user(sojourn_workspace="default", sojourn_role=["viewer", "editor", "x"])
    assert (await several.get("/api/v1/me")).json()["role"] == "editor"


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"sojourn_role": "admin"},
        {"sojourn_workspace": "default"},
        {"sojourn_workspace": "default", "sojourn_role": "owner"},
        {"sojourn_workspace": "default", "sojourn_role": 7},
        {"sojourn_workspace": "nowhere", "sojourn_role": "admin"},
        {"sojourn_workspace": "*", "sojourn_role": "admin"},
        {"sojourn_workspace": ["default"], "sojourn_role": "admin"},
    ],
)
async def test_nobodys_members(desk: Desk, claims: dict[str, Any]) -> None:
    user = await desk.user(sub=a_name("nobody"), **claims)
    assert_problem(await user.get("/api/v1/me"), 403, "FORBIDDEN")


async def test_bad_tokens_are_401(desk: Desk) -> None:
    user = await desk.user(aud="other", sojourn_workspace="default", sojourn_role="admin")
    assert_problem(await user.get("/api/v1/me"), 401, "UNAUTHORIZED")


async def test_without_the_issuers_keys_a_token_is_told_to_wait(desk: Desk) -> None:
    desk.issuer.away = True
    user = await desk.user(sojourn_workspace="default", sojourn_role="admin")
    answer = await user.get("/api/v1/me")
    assert_problem(answer, 503, "HTTP_ERROR")
    assert int(answer.headers["retry-after"]) >= 1
    # Keys go on.
    assert (await desk.admin.get("/api/v1/me")).status_code == 200


async def test_members_and_their_grants(desk: Desk, publish: Publish) -> None:
    name, subject = await publish(), f"auth0|{a_name('user')}"
    body = {"role": "viewer", "grants": {name: "operator"}}
    path = f"/api/v1/members/{subject.replace('|', '%7C')}"
    answer = await desk.admin.put(path, json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["subject"] == subject
    user = await desk.user(sub=subject)
    mine = (await user.get("/api/v1/me")).json()
    assert (mine["workspace"], mine["role"]) == ("default", "viewer")
    run = await user.post(f"/api/v1/definitions/{name}/runs", json={"input": {"n": 1}})
    assert run.status_code == 201, run.text
    listed = (await desk.admin.get("/api/v1/members")).json()["items"]
    assert subject in {each["subject"] for each in listed}
    # A member of two workspaces says which one.
    other = a_name("second")
    made = await desk.admin.post("/api/v1/workspaces", json={"name": other})
    assert made.status_code == 201
    key = await desk.admin.post(
        "/api/v1/api-keys", json={"name": "x", "role": "admin", "workspace": other}
    )
    headers = {"X-API-Key": key.json()["key"]}
    assert (await desk.admin.put(path, json={"role": "admin"}, headers=headers)).status_code == 200
    unsaid = await desk.user(sub=subject, jti="1")
    assert_problem(await unsaid.get("/api/v1/me"), 403, "FORBIDDEN")
    said = await desk.user(sub=subject, sojourn_workspace=other)
    assert (await said.get("/api/v1/me")).json()["role"] == "admin"
    assert (await desk.admin.delete(path)).status_code == 204
    assert_problem(await desk.admin.delete(path), 404, "NOT_FOUND")
