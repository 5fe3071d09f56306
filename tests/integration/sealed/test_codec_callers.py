"""Who opens payloads: each workspace's own, by its admins, and browsers that have signed in."""

import base64
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient, Response
from temporalio.api.common.v1 import Payload
from temporalio.client import Client

from api import codec_session
from api.codec_session import COOKIE, LIFETIME, open_session, seal_session
from api.identity import UnauthorizedError
from db.base import now
from db.engine import Database
from schemas.errors import LimitError
from tests.integration.api.conftest import a_name, assert_problem
from tests.integration.sealed.conftest import UI, make_app
from tests.integration.sealed.test_codec_server import (
    DECODE,
    ENCODE,
    SIGN_IN,
    data_of,
    written,
)
from tests.kit.journey import Journey
from tests.kit.sealing import RING
from workflows.opening import PayloadDesk

SIGN_OUT = "/api/v1/codec/sign-out"
PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'{"email":"ada@example.com"}')
OPEN = {"email": "ada@example.com"}
NOT_OPENED = "not opened: see the log"


def client_of(app: FastAPI, key: str | None = None) -> AsyncClient:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return AsyncClient(
        transport=ASGITransport(app=app), base_url="http://testserver", headers=headers
    )


async def make_key(api: AsyncClient, **given: Any) -> tuple[str, str]:
    """Make a key; gives its id and itself."""
    answer = await api.post("/api/v1/api-keys", json={"name": "test", **given})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"], answer.json()["key"]


async def a_workspace(api: AsyncClient) -> str:
    name = a_name("ws")
    assert (await api.post("/api/v1/workspaces", json={"name": name})).status_code == 201
    return name


async def sealed_for(client: Client, workspace: str) -> Payload:
    """A payload as a run of a workspace has it."""
    (payload,) = await PayloadDesk(client).seal([PLAIN], f"{workspace}/flow/{uuid4()}")
    return payload


def renamed(payload: Payload, workflow_id: str) -> Payload:
    """The payload, saying that it is another workflow's."""
    copy = Payload()
    copy.CopyFrom(payload)
    copy.metadata["workflow"] = workflow_id.encode()
    return copy


async def decode(api: AsyncClient, *payloads: Payload, **headers: str) -> Response:
    return await api.post(DECODE, json={"payloads": [*map(written, payloads)]}, headers=headers)


async def test_each_workspaces_admins_open_its_own(
    api: AsyncClient, app: FastAPI, client: Client
) -> None:
    ours, theirs = await a_workspace(api), await a_workspace(api)
    keys = {name: (await make_key(api, role="admin", workspace=name))[1] for name in (ours, theirs)}
    kept = {name: await sealed_for(client, name) for name in (ours, theirs, "default")}
    for name, key in keys.items():
        async with client_of(app, key) as admin:
            (opened,) = (await decode(admin, kept[name])).json()["payloads"]
            assert data_of(opened) == OPEN
            for foreign in kept.keys() - {name}:
                assert_problem(await decode(admin, kept[foreign]), 404, "NOT_FOUND")
                both = await decode(admin, kept[name], kept[foreign])
                assert_problem(both, 404, "NOT_FOUND")
                # A payload says whose it is; what it says is part of what it is sealed with.
                forged = renamed(kept[foreign], f"{name}/flow/{uuid4()}")
                (answer,) = (await decode(admin, forged)).json()["payloads"]
                assert data_of(answer) == NOT_OPENED
            for claim in (f"{name}", f"{name}/", f"{name}/../default", "", f"x/{name}/{uuid4()}"):
                answer = await decode(admin, renamed(kept["default"], claim))
                assert_problem(answer, 404, "NOT_FOUND")
            sealing = await admin.post(
                ENCODE,
                json={"payloads": [written(PLAIN)]},
                headers={"X-Workflow-Id": f"{name}/flow/{uuid4()}"},
            )
            assert_problem(sealing, 403, "FORBIDDEN")


@pytest.mark.parametrize(
    ("where", "role", "status"),
    [
        ("own", "viewer", 403),
        ("own", "operator", 403),
        ("own", "editor", 403),
        ("own", "admin", 200),
        ("home", "viewer", 403),
        ("home", "operator", 200),
    ],
)
async def test_the_role_that_it_needs(
    api: AsyncClient, app: FastAPI, client: Client, where: str, role: str, status: int
) -> None:
    given, name = {}, "default"
    if where == "own":
        name = await a_workspace(api)
        given = {"workspace": name}
    _, key = await make_key(api, role=role, **given)
    async with client_of(app, key) as caller:
        answer = await decode(caller, await sealed_for(client, name))
        assert answer.status_code == status, answer.text
        assert (await caller.get("/metrics")).status_code == (200 if where == "home" else 403)
    async with client_of(app) as browser:
        said = await browser.post(SIGN_IN, data={"key": key})
        assert said.status_code == status
        assert (COOKIE in said.cookies) == (status == 200)


@pytest.fixture
async def browser(app: FastAPI) -> AsyncIterator[AsyncClient]:
    """What a browser would send: cookies, and no key."""
    async with client_of(app) as found:
        yield found


async def sign_in(browser: AsyncClient, key: str) -> str:
    """Sign in, and give the cookie as the answer sets it."""
    answer = await browser.post(SIGN_IN, data={"key": key})
    assert answer.status_code == 200, answer.text
    assert key not in answer.text
    return answer.headers["set-cookie"]


async def test_a_browser_that_has_signed_in_may_open_and_nothing_else(
    browser: AsyncClient, client: Client
) -> None:
    payload = await sealed_for(client, "default")
    assert_problem(await decode(browser, payload, Origin=UI), 401, "UNAUTHORIZED")
    cookie = await sign_in(browser, Journey.API_KEY)
    assert {part.strip().lower() for part in cookie.split(";")[1:]} == {
        "httponly",
        f"max-age={int(LIFETIME.total_seconds())}",
        f"path={DECODE}",
        "samesite=strict",
    }
    assert Journey.API_KEY not in cookie
    value = browser.cookies[COOKIE]
    (opened,) = (await decode(browser, payload, Origin=UI)).json()["payloads"]
    assert data_of(opened) == OPEN
    # Only for pages of the Web UI, whatever a browser sends along.
    for origin in ({}, {"Origin": "https://evil.example"}, {"Origin": "null"}):
        assert_problem(await decode(browser, payload, **origin), 401, "UNAUTHORIZED")
    everywhere = {"Origin": UI, "Cookie": f"{COOKIE}={value}"}
    for method, path in (
        ("POST", ENCODE),
        ("GET", "/api/v1/runs"),
        ("GET", "/api/v1/me"),
        ("GET", "/metrics"),
    ):
        answer = await browser.request(method, path, headers=everywhere)
        assert_problem(answer, 401, "UNAUTHORIZED")
    # A key that comes beside it counts, and is not made better by it.
    wrong = await decode(browser, payload, Origin=UI, Authorization="Bearer wrong")
    assert_problem(wrong, 401, "UNAUTHORIZED")
    out = await browser.post(SIGN_OUT)
    assert out.status_code == 200
    assert_problem(await decode(browser, payload, Origin=UI), 401, "UNAUTHORIZED")


async def test_a_cookie_ends_with_its_time_and_with_its_key(
    api: AsyncClient, browser: AsyncClient, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    payload = await sealed_for(client, "default")
    key_id, key = await make_key(api, role="operator")
    await sign_in(browser, key)
    assert (await decode(browser, payload, Origin=UI)).status_code == 200
    with monkeypatch.context() as later:
        later.setattr(codec_session, "now", lambda: now() + LIFETIME)
        assert_problem(await decode(browser, payload, Origin=UI), 401, "UNAUTHORIZED")
    assert (await decode(browser, payload, Origin=UI)).status_code == 200
    (entry,) = (await api.get("/api/v1/audit", params={"action": "codec.sign_in"})).json()["items"][
        :1
    ]
    assert (entry["actor"], entry["request_id"] is not None) == (f"key:{key_id}", True)
    await api.delete(f"/api/v1/api-keys/{key_id}")
    monkeypatch.setattr("api.credentials.KEPT", 0.0)
    assert_problem(await decode(browser, payload, Origin=UI), 401, "UNAUTHORIZED")


async def test_what_is_no_cookie_of_ours(browser: AsyncClient, client: Client) -> None:
    payload = await sealed_for(client, "default")
    good = seal_session(RING, Journey.API_KEY, now() + LIFETIME)
    assert open_session(RING, good, now()) == Journey.API_KEY
    # Sealed under the same key for something else: it is no session.
    other = RING.seal(f"9999999999 {Journey.API_KEY}".encode(), b"something else")
    text = base64.urlsafe_b64encode(other.data).decode().rstrip("=")
    middle = len(good) // 2
    swapped = "A" if good[middle] != "A" else "B"
    bad = [
        "",
        "x",
        Journey.API_KEY,
        f"unknown:{good.partition(':')[2]}",
        good[:-8],
        f"{good[:middle]}{swapped}{good[middle + 1 :]}",
        f"{other.key_id}:{text}",
        f"{other.key_id}:",
        f"{other.key_id}:é",
    ]
    for value in bad:
        with pytest.raises(UnauthorizedError):
            open_session(RING, value, now())
    for value in bad[1:-1]:
        answer = await decode(browser, payload, Origin=UI, Cookie=f"{COOKIE}={value}")
        assert_problem(answer, 401, "UNAUTHORIZED")
    with pytest.raises(LimitError):
        seal_session(RING, "a" * 4000, now())


async def test_the_page_refuses_what_it_should(
    app: FastAPI, browser: AsyncClient, database: Database, gateway: Any, catalogue: Any
) -> None:
    page = await browser.get(SIGN_IN)
    assert page.status_code == 200
    assert UI in page.text
    assert "form-action 'self'" in page.headers["content-security-policy"]
    for body in ({}, {"key": ""}, {"key": "<script>wrong</script>"}):
        answer = await browser.post(SIGN_IN, data=body)
        assert answer.status_code == 403
        assert "<script>" not in answer.text
        assert COOKIE not in answer.cookies
    for site in ("cross-site", "same-site"):
        for path in (SIGN_IN, SIGN_OUT):
            answer = await browser.post(
                path, data={"key": Journey.API_KEY}, headers={"Sec-Fetch-Site": site}
            )
            assert_problem(answer, 422, "INVALID_INPUT")
    large = await browser.post(SIGN_IN, data={"key": "a" * 10_000})
    assert large.status_code == 413
    # Nothing to sign in for.
    without = make_app(database, gateway, catalogue, app.state.keyring, 1, ui_origin=None)
    async with client_of(without) as found:
        assert_problem(await found.get(SIGN_IN), 409, "CONFLICT")
        answer = await found.post(SIGN_IN, data={"key": Journey.API_KEY})
        assert_problem(answer, 409, "CONFLICT")
