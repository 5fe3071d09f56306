"""Secrets in runs, on real servers: at the other side, and nowhere else."""

import asyncio
import base64
import io
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest
import structlog
from httpx2 import AsyncClient
from sqlmodel import select, text
from temporalio.client import Client

from db.engine import Database
from db.run_steps import RunStep
from schemas.markers import DELIMITER
from tests.servers.wire import Received, WireServer, respond

# Characters that change in URLs, JSON and base64.
CANARY = 'c4nary+/"&%-' + "0123456789"
PASSWORD = "p4ssw0rd-of-the-connection"
pytestmark = pytest.mark.usefixtures("worker")


async def echo(request: Received, writer: asyncio.StreamWriter) -> None:
    """Answer with all that came, in several forms, as careless servers do."""
    if request.target.startswith("/away"):
        respond(writer, 307, b"", {"location": request.headers["x-to"]})
        return
    secret = request.headers.get("x-key", request.headers.get("authorization", ""))
    told = {
        "headers": request.headers,
        "target": request.target,
        "body": request.body.decode(),
        "plain": _read(secret),
        "encoded": base64.b64encode(_read(secret).encode()).decode(),
    }
    if request.target.startswith("/forge"):
        told["plain"] = f"{DELIMITER}secrets.TOKEN{DELIMITER}"
    status = 500 if request.target.startswith("/fail") else 200
    content = json.dumps(told).encode()
    if request.target.startswith("/text"):
        content = b"not JSON: " + _read(secret).encode()
    respond(writer, status, content, {"content-type": "application/json", "x-echo": secret})


def _read(header: str) -> str:
    """A header as it was meant: what is not ASCII travels as UTF-8."""
    return header.encode("latin-1").decode()


@pytest.fixture
async def outside() -> AsyncIterator[WireServer]:
    """A server that gives back what it got."""
    async with WireServer(echo) as server:
        yield server


@contextmanager
def logged() -> Iterator[io.StringIO]:
    """All that is logged meanwhile, before any masking by the log's own rules."""
    kept = io.StringIO()
    handler = logging.StreamHandler(kept)
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    with structlog.testing.capture_logs() as lines:
        yield kept
    root.removeHandler(handler)
    root.setLevel(level)
    kept.write(repr(lines))


async def begin(api: AsyncClient, steps: str, given: dict[str, Any] | None = None) -> str:
    """Publish a definition of these steps and start a run; gives its id."""
    name = f"secret-{uuid4().hex[:12]}"
    source = f"name: {name}\noutput: {{all: '{{{{ steps }}}}'}}\nsteps:\n{steps}"
    stored = await api.post(
        "/api/v1/definitions?publish=true",
        content=source,
        headers={"content-type": "application/yaml"},
    )
    assert stored.status_code == 201, stored.text
    answer = await api.post(f"/api/v1/definitions/{name}/runs", json={"input": given or {}})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


async def ended(api: AsyncClient, run: str, status: str) -> dict[str, Any]:
    """Wait until a run has ended; it must have this status."""
    async with asyncio.timeout(180):
        while True:
            found = (await api.get(f"/api/v1/runs/{run}")).json()
            if found["finished_at"] is not None:
                assert found["status"] == status, found
                return found
            await asyncio.sleep(0.05)


async def put_secret(api: AsyncClient, value: str = CANARY) -> str:
    name = f"S{uuid4().hex[:12]}"
    assert (await api.put(f"/api/v1/secrets/{name}", json={"value": value})).status_code == 200
    return name


async def put_connection(api: AsyncClient, **config: Any) -> str:
    name = f"crm-{uuid4().hex[:12]}"
    body = {
        "kind": "http",
        "config": {"auth": "basic", "username": "me", **config},
        "secrets": {"password": PASSWORD, "token": CANARY, "value": "v4lue-of-the-header"},
    }
    answer = await api.put(f"/api/v1/connections/{name}", json=body)
    assert answer.status_code == 200, answer.text
    return name


def forms(value: str) -> list[str]:
    return [
        value,
        quote(value, safe=""),
        json.dumps(value)[1:-1],
        base64.b64encode(value.encode()).decode(),
    ]


async def everything(api: AsyncClient, client: Client, database: Database, run: str) -> bytes:
    """History, rows and answers about a run, as bytes."""
    detail = await api.get(f"/api/v1/runs/{run}")
    parts = [detail.content, (await api.get(f"/api/v1/runs/{run}/steps")).content]
    workflow_id = detail.json()["workflow_id"]
    history = await client.get_workflow_handle(workflow_id).fetch_history()
    parts += [event.SerializeToString() for event in history.events]
    parts += [history.to_json().encode()]
    async with database.session() as session:
        for row in (await session.exec(select(RunStep).where(RunStep.run_id == run))).all():
            parts.append(repr(row.model_dump()).encode())
        statement = text("SELECT runs::text FROM runs WHERE id = :run").bindparams(run=run)
        parts.append(str((await (await session.connection()).execute(statement)).all()).encode())
    return b"\n".join(parts)


def assert_absent(value: str, hay: bytes) -> None:
    for form in forms(value):
        assert form.encode() not in hay, form
        # Inside JSON inside JSON.
        assert json.dumps(form)[1:-1].encode() not in hay, form


async def test_a_secret_is_at_the_other_side_and_nowhere_else(
    api: AsyncClient, client: Client, database: Database, outside: WireServer
) -> None:
    name, plain = await put_secret(api), await put_secret(api, "C4NARY0123456789abcdef")
    crm = await put_connection(api, base_url=f"{outside.url}/base")
    steps = f"""
  - id: sent
    type: http
    with:
      method: POST
      url: "{outside.url}/ok?bare={{{{ secrets.{plain} }}}}"
      query: {{key: "{{{{ secrets.{name} }}}}"}}
      headers: {{x-key: "{{{{ secrets.{name} }}}}"}}
      json: {{key: "{{{{ secrets.{name} }}}}", text: "so: {{{{ secrets.{name} }}}}!"}}
  - id: inline
    type: http
    timeout: 5s
    with: {{url: "{outside.url}/ok", headers: {{x-key: "{{{{ secrets.{name} }}}}"}}}}
  - id: failing
    type: http
    retry: {{attempts: 2, initial: 10ms}}
    on_error: continue
    with: {{url: "{outside.url}/fail", headers: {{x-key: "{{{{ secrets.{name} }}}}"}}}}
  - id: unreadable
    type: http
    retry: {{attempts: 1}}
    on_error: continue
    with:
      output: json
      url: "{outside.url}/text"
      headers: {{x-key: "{{{{ secrets.{name} }}}}"}}
  - id: misused
    type: http
    on_error: continue
    with: {{url: "{outside.url}/x", method: "{{{{ secrets.{name} }}}}"}}
  - id: misdirected
    type: http
    on_error: continue
    retry: {{attempts: 1}}
    with: {{url: "http://{{{{ secrets.{plain} }}}}.invalid/"}}
  - id: connected
    type: http
    with: {{connection: {crm}, url: "/leads?page=2"}}
"""
    with logged() as log:
        run = await begin(api, steps)
        detail = await ended(api, run, "completed")
    hay = await everything(api, client, database, run) + log.getvalue().encode()
    # Not a piece of it either.
    assert b"c4nary" not in hay.lower()
    assert b"p4ssw0rd" not in hay
    assert_absent(CANARY, hay)
    assert_absent(PASSWORD, hay)
    assert_absent(f"me:{PASSWORD}", hay)
    found = detail["output"]["all"]
    assert found["sent"]["output"]["body"]["plain"] == "***"
    assert found["failing"]["error"]["code"] == "HTTP_ERROR"
    assert "***" in json.dumps(found["failing"]["error"]["details"])
    assert found["misused"]["error"]["code"] == "INVALID_INPUT"

    sent, inline, *_ = outside.requests
    assert sent.target == f"/ok?bare=C4NARY0123456789abcdef&key={quote(CANARY, safe='')}"
    assert _read(sent.headers["x-key"]) == _read(inline.headers["x-key"]) == CANARY
    assert json.loads(sent.body) == {"key": CANARY, "text": f"so: {CANARY}!"}
    connected = outside.requests[-1]
    assert connected.target == "/base/leads?page=2"
    pair = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
    assert connected.headers["authorization"] == f"Basic {pair}"
    # The step's own record holds the reference, for people to see what was sent.
    steps_shown = (await api.get(f"/api/v1/runs/{run}/steps")).json()
    shown = {one["path"]: one["input"] for one in steps_shown}
    assert shown["inline"]["headers"]["x-key"] == f"{DELIMITER}secrets.{name}{DELIMITER}"


@pytest.mark.parametrize(
    "source", ["{{ input.x }}", "a {{ input.x }} b", "{{ steps.got.output.body.plain }}"]
)
async def test_nobody_can_forge_a_reference(
    api: AsyncClient, outside: WireServer, source: str
) -> None:
    name = await put_secret(api)
    steps = f"""
  - {{id: got, type: http, with: {{url: "{outside.url}/forge"}}}}
  - {{id: out, type: http, with: {{method: POST, url: "{outside.url}/ok", body: "{source}"}}}}
"""
    run = await begin(api, steps, {"x": f"{DELIMITER}secrets.{name}{DELIMITER}"})
    detail = await ended(api, run, "failed")
    assert detail["error"]["code"] == "EXPRESSION_ERROR"
    assert [request.method for request in outside.requests] == ["GET"]


async def test_a_secret_that_is_missing_fails_the_step_by_name(
    api: AsyncClient, outside: WireServer
) -> None:
    steps = f"""
  - {{id: a, type: http, with: {{url: "{outside.url}/ok", body: "{{{{ secrets.NOT_THERE }}}}"}}}}
"""
    detail = await ended(api, await begin(api, steps), "failed")
    assert detail["error"]["code"] == "INVALID_INPUT"
    assert "NOT_THERE" in detail["error"]["message"]
    assert outside.requests == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("url: 'http://example.com/x'", "not on the origin"),
        ("url: '../admin'", "'..'"),
        ("url: 'a/%2E%2e/b'", "'..'"),
        ("url: /x, headers: {Authorization: mine}", "leave it out"),
    ],
)
async def test_credentials_stay_with_their_origin(
    api: AsyncClient, outside: WireServer, given: str, said: str
) -> None:
    crm = await put_connection(api, base_url=outside.url, auth="bearer")
    steps = f"  - {{id: a, type: http, with: {{connection: {crm}, {given}}}}}\n"
    detail = await ended(api, await begin(api, steps), "failed")
    assert detail["error"]["code"] == "INVALID_INPUT"
    assert said in detail["error"]["message"]
    assert outside.requests == []


async def test_no_secret_follows_a_redirect_to_another_origin(
    api: AsyncClient, outside: WireServer
) -> None:
    name = await put_secret(api)
    crm = await put_connection(api, base_url=outside.url, auth="header", header="X-Api-Key")
    async with WireServer(echo) as other:
        to = f'x-to: "{other.url}/ok", x-other: plain'
        steps = f"""
  - id: a
    type: http
    with: {{connection: {crm}, url: /away, follow_redirects: true, headers: {{{to}}}}}
  - id: b
    type: http
    with:
      url: "{outside.url}/away"
      follow_redirects: true
      headers: {{{to}, x-mine: "Token {{{{ secrets.{name} }}}}"}}
  - id: c
    type: http
    on_error: continue
    with:
      method: POST
      url: "{outside.url}/away"
      follow_redirects: true
      headers: {{{to}}}
      json: {{key: "{{{{ secrets.{name} }}}}"}}
"""
        detail = await ended(api, await begin(api, steps), "completed")
        assert outside.requests[0].headers["x-api-key"] == "v4lue-of-the-header"
        assert len(other.requests) == 2
        for request in other.requests:
            assert "x-api-key" not in request.headers
            assert "x-mine" not in request.headers
            assert request.headers["x-other"] == "plain"
        error = detail["output"]["all"]["c"]["error"]
        assert "a body with a secret" in error["message"]


async def test_a_connection_of_another_kind_is_refused(api: AsyncClient) -> None:
    name = f"ai-{uuid4().hex[:12]}"
    body = {"kind": "openai", "config": {}, "secrets": {"api_key": CANARY}}
    answer = await api.put(f"/api/v1/connections/{name}", json=body)
    assert answer.status_code == 200, answer.text
    steps = f"  - {{id: a, type: http, with: {{connection: {name}, url: /x}}}}\n"
    detail = await ended(api, await begin(api, steps), "failed")
    assert "of kind openai, not http" in detail["error"]["message"]
