"""The test of a connection: a real login or request, told in words without the secret."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from httpx2 import AsyncClient

from activities.probing import Probe, Prober
from activities.services import Services
from api.app import create_app
from api.config import ApiConfig
from db.engine import Database
from schemas.actions import Catalogue
from schemas.keyring import KeyRing
from tests.integration.api.conftest import (
    API_KEY,
    assert_problem,
    client_of,
    closed_port,
    silent_port,
)
from tests.servers.smtp_server import RudeSmtp
from tests.servers.wire import Received, WireServer, respond
from workflows.gateway import Gateway

SECRET = "s3cret-of-the-test"
Try = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture
def attempt(api: AsyncClient) -> Try:
    """Store a connection and test it; gives the answer, which is also kept on its row."""

    async def put_and_test(
        kind: str, config: dict[str, Any], secrets: dict[str, str]
    ) -> dict[str, Any]:
        url = f"/api/v1/connections/test-{uuid4().hex[:12]}"
        body = {"kind": kind, "config": config, "secrets": secrets}
        stored = await api.put(url, json=body)
        assert stored.status_code == 200, stored.text
        answer = await api.post(f"{url}/test")
        assert answer.status_code == 200, answer.text
        found = answer.json()
        last = (await api.get(url)).json()["last_test"]
        assert (last["ok"], last["message"]) == (found["ok"], found["message"])
        assert SECRET not in answer.text
        assert 0 <= found["duration_ms"] < 10_000
        await api.delete(url)
        return found

    return put_and_test


# -- mail ------------------------------------------------------------------------------------


def smtp(port: int) -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": port, "tls": "none", "username": "me"}


async def test_a_mail_server_that_lets_us_in(attempt: Try) -> None:
    async with RudeSmtp(replies={"AUTH": "235 welcome"}, offers=("AUTH PLAIN",)) as server:
        found = await attempt("smtp", smtp(server.port), {"password": SECRET})
    assert found["ok"], found
    assert found["message"] == "logged in as me"
    assert server.accepted == []


async def test_a_login_that_is_refused_is_told_without_the_password(attempt: Try) -> None:
    told = f"535 no such pair me/{SECRET} {base64.b64encode(SECRET.encode()).decode()}"
    async with RudeSmtp(replies={"AUTH": told}, offers=("AUTH PLAIN",)) as server:
        found = await attempt("smtp", smtp(server.port), {"password": SECRET})
    assert not found["ok"]
    assert found["message"] == "the login was refused: 535 no such pair me/*** ***"


async def test_a_mail_server_that_is_not_there_or_does_not_speak_tls(attempt: Try) -> None:
    with closed_port() as port:
        assert not (await attempt("smtp", smtp(port), {"password": SECRET}))["ok"]
    async with RudeSmtp() as server:
        config = {**smtp(server.port), "tls": "starttls"}
        found = await attempt("smtp", config, {"password": SECRET})
    assert not found["ok"]
    assert "mail server failed" in found["message"]


@asynccontextmanager
async def imap_server() -> AsyncIterator[int]:
    """An IMAP server that knows one user with SECRET; gives its port."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"* OK ready\r\n")
        while line := (await reader.readline()).decode().strip():
            tag, command, *rest = line.split(" ", 2)
            answer = f"{tag} OK done"
            if command == "CAPABILITY":
                writer.write(b"* CAPABILITY IMAP4rev1\r\n")
            elif command == "LOGIN" and SECRET not in rest[0]:
                answer = f"{tag} NO [AUTHENTICATIONFAILED] not {rest[0]}"
            elif command == "EXAMINE" and rest[0] != '"INBOX"':
                answer = f"{tag} NO no such mailbox"
            elif command == "EXAMINE":
                writer.write(b"* 7 EXISTS\r\n")
            writer.write(answer.encode() + b"\r\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.mark.parametrize(
    ("password", "mailbox", "ok", "said"),
    [
        (SECRET, "INBOX", True, "logged in as me; 7 messages"),
        ("another-password", "INBOX", False, "refused"),
        (SECRET, "Nowhere", False, "no such mailbox"),
        ("pässword-of-me", "INBOX", False, "plain ASCII"),
    ],
)
async def test_a_mailbox_is_opened(
    attempt: Try, password: str, mailbox: str, ok: bool, said: str
) -> None:
    async with imap_server() as port:
        config = {"host": "127.0.0.1", "port": port, "tls": "none", "username": "me"}
        found = await attempt("imap", {**config, "mailbox": mailbox}, {"password": password})
    assert found["ok"] is ok, found
    assert said in found["message"]
    assert "another-password" not in found["message"]


# -- web -------------------------------------------------------------------------------------


async def doors(request: Received, writer: asyncio.StreamWriter) -> None:
    """Let in who brings SECRET in any of the usual headers."""
    names = ("authorization", "x-api-key", "x-goog-api-key")
    given = " ".join(request.headers.get(name, "") for name in names)
    pair = base64.b64encode(f"me:{SECRET}".encode()).decode()
    inside = SECRET in given or pair in given or SECRET.encode() in request.body
    if request.target == "/token":
        content = b'{"access_token": "given-token", "expires_in": 3600}'
        respond(writer, 200 if inside else 400, content if inside else b'{"error": "bad"}')
        return
    respond(writer, 200 if inside else 401, b"{}", {"content-type": "application/json"})


@pytest.mark.parametrize(
    ("config", "field", "target"),
    [
        ({"auth": "bearer"}, "token", "/api"),
        ({"auth": "basic", "username": "me", "test_url": "/me"}, "password", "/api/me"),
        ({"auth": "header", "header": "X-Api-Key", "test_url": "?a=1"}, "value", "/api?a=1"),
    ],
)
async def test_a_web_api_is_asked(
    attempt: Try, config: dict[str, Any], field: str, target: str
) -> None:
    async with WireServer(doors) as server:
        given = {"base_url": f"{server.url}/api", **config}
        good = await attempt("http", given, {field: SECRET})
        bad = await attempt("http", given, {field: "another-value"})
        assert [one.target for one in server.requests] == [target, target]
        assert {one.method for one in server.requests} == {"GET"}
    assert good["ok"], good
    assert bad == {**bad, "ok": False, "message": "127.0.0.1 answered 401"}


async def test_what_may_not_be_reached_is_not_tried(attempt: Try) -> None:
    found = await attempt("http", {"base_url": "http://169.254.169.254/latest"}, {})
    assert not found["ok"]
    assert "metadata" in found["message"]
    found = await attempt(
        "smtp", {"host": "169.254.169.254", "port": 25, "tls": "none"}, {"password": SECRET}
    )
    assert not found["ok"]
    assert "metadata" in found["message"]


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        ("openai", "/models"),
        ("anthropic", "/v1/models?limit=1"),
        ("google", "/v1beta/models?pageSize=1"),
    ],
)
async def test_a_vendor_of_models_lists_them(services: Services, kind: str, target: str) -> None:
    prober = Prober(lambda: services.http, lambda: services.http)
    async with WireServer(doors) as server:
        config = {"base_url": server.url}
        good = await prober.probe("ai", kind, config, {"api_key": SECRET})
        bad = await prober.probe("ai", kind, config, {"api_key": "another-key"})
        assert [one.target for one in server.requests] == [target, target]
    assert (good.ok, bad.ok) == (True, False)


async def test_gmail_is_asked_for_a_token(attempt: Try) -> None:
    async with WireServer(doors) as server:
        config = {"user": "me@example.com", "client_id": "id", "token_url": f"{server.url}/token"}
        secrets = {"client_secret": "client-secret", "refresh_token": SECRET}
        good = await attempt("gmail", config, secrets)
        bad = await attempt("gmail", config, {**secrets, "refresh_token": "another-token"})
    assert good["ok"], good
    assert good["message"] == "a token was given for me@example.com"
    assert not bad["ok"]


async def test_a_webhook_secret_is_opened(attempt: Try) -> None:
    assert (await attempt("webhook", {}, {"secret": SECRET}))["ok"]


async def test_who_says_nothing_is_given_up(services: Services) -> None:
    prober = Prober(
        lambda: services.http, lambda: services.http, mail=services.mail_targets, deadline=0.3
    )
    with silent_port() as port:
        web = await prober.probe("a", "http", {"base_url": f"http://127.0.0.1:{port}"}, {})
        mail = await prober.probe("b", "smtp", smtp(port), {"password": SECRET})
        imap = {"host": "127.0.0.1", "port": port, "tls": "none", "username": "me"}
        box = await prober.probe("c", "imap", {**imap, "mailbox": "INBOX"}, {"password": SECRET})
    for found in (web, mail, box):
        assert isinstance(found, Probe)
        assert not found.ok
        assert found.duration_ms < 2_000


async def test_a_connection_that_is_not_there(api: AsyncClient) -> None:
    assert_problem(await api.post("/api/v1/connections/nowhere/test"), 404, "NOT_FOUND")


async def test_a_process_without_a_prober_says_so(
    database: Database, gateway: Gateway, catalogue: Catalogue, keyring: KeyRing
) -> None:
    app = create_app(
        database=database,
        gateway=gateway,
        catalogue=catalogue,
        config=ApiConfig(api_key=API_KEY),
        keyring=keyring,
    )
    async with client_of(app) as client:
        answer = await client.post("/api/v1/connections/any/test")
        assert_problem(answer, 501, "NOT_IMPLEMENTED")
