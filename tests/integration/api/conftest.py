"""What the API's tests share: definitions of their own, polling, and apps whose parts are down."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from uuid import uuid4

import pytest
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient, Response
from sqlalchemy import event

from api.app import create_app
from api.config import ApiConfig
from db.engine import Database
from schemas.actions import Catalogue
from workflows.gateway import Gateway
from workflows.setup import connect

API_KEY = "test-key-0123456789"
YAML = {"content-type": "application/yaml"}
PROBLEM = "application/problem+json"
WAITING = """
name: {name}
input:
  type: object
  required: [n]
  additionalProperties: false
  properties: {{n: {{type: integer}}, tracking: {{type: object}}}}
output: "{{{{ steps.go.output }}}}"
steps:
  - {{id: more, type: set, vars: {{x: "{{{{ input.n + 1 }}}}"}}}}
  - {{id: go, type: wait, signal: go, timeout: 1h}}
"""

Publish = Callable[..., Awaitable[str]]


def a_name(prefix: str = "flow") -> str:
    """A name nobody else uses."""
    return f"{prefix}-{uuid4().hex[:12]}"


@pytest.fixture
def publish(api: AsyncClient) -> Publish:
    """Call it for the name of a new published definition, by default one that waits for `go`."""

    async def made(text: str = WAITING, *, published: bool = True) -> str:
        name = a_name()
        answer = await api.post(
            "/api/v1/definitions",
            params={"publish": published},
            content=text.format(name=name),
            headers=YAML,
        )
        assert answer.status_code == 201, answer.text
        return name

    return made


async def start(api: AsyncClient, name: str, given: dict[str, Any] | None = None) -> str:
    """Start a run of `name`; gives its id."""
    body = {"input": given or {"n": 1}}
    answer = await api.post(f"/api/v1/definitions/{name}/runs", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


async def until_status(api: AsyncClient, run_id: str, status: str) -> dict[str, Any]:
    """Poll a run until it has the status; gives its detail."""
    async with asyncio.timeout(180):
        while True:
            run = (await api.get(f"/api/v1/runs/{run_id}")).json()
            if run["status"] == status:
                return run
            await asyncio.sleep(0.05)


def assert_problem(answer: Response, status: int, code: str) -> dict[str, Any]:
    """The answer is a problem with this status and code, and carries the request's id."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == PROBLEM
    body = answer.json()
    assert body["status"] == status
    assert body["code"] == code
    assert body["detail"]
    assert body["request_id"] == answer.headers["x-request-id"]
    return body


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    """The statements that the database gets meanwhile."""
    statements: list[str] = []

    def note(_c: Any, _k: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    engine = database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(engine, "before_cursor_execute", note)


@contextmanager
def closed_port() -> Iterator[int]:
    """A port where connections are refused."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@contextmanager
def silent_port() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen(50)
        yield held.getsockname()[1]


@asynccontextmanager
async def client_of(app: FastAPI) -> AsyncIterator[AsyncClient]:
    """A client of an app in this process, with the API key."""
    async with AsyncClient(
        transport=ASGITransport(app=app),
        base_url="http://testserver",
        headers={"X-API-Key": API_KEY},
    ) as client:
        yield client


@pytest.fixture(params=["refused", "silent"])
async def without_temporal(
    request: pytest.FixtureRequest, database: Database, catalogue: Catalogue
) -> AsyncIterator[AsyncClient]:
    """A client of an API whose Temporal is away."""
    port = closed_port if request.param == "refused" else silent_port
    with port() as number:
        gateway = Gateway(await connect(f"127.0.0.1:{number}", lazy=True))
        app = create_app(
            database=database,
            gateway=gateway,
            catalogue=catalogue,
            config=ApiConfig(api_key=API_KEY),
        )
        async with client_of(app) as client:
            yield client


@pytest.fixture(params=["refused", "silent"])
async def without_database(
    request: pytest.FixtureRequest, gateway: Gateway, catalogue: Catalogue
) -> AsyncIterator[AsyncClient]:
    """A client of an API whose PostgreSQL is away."""
    port = closed_port if request.param == "refused" else silent_port
    with port() as number:
        database = Database(f"postgresql://nobody:x@127.0.0.1:{number}/none")
        app = create_app(
            database=database,
            gateway=gateway,
            catalogue=catalogue,
            config=ApiConfig(api_key=API_KEY),
        )
        async with client_of(app) as client:
            yield client
        await database.close()
