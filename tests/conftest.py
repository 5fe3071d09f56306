"""Shared fixtures on real parts: one server of each kind for the whole suite.

Modules of the product are imported inside the fixtures, so that a unit test that uses none of them
starts at once.
"""

import gc
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
import structlog

if TYPE_CHECKING:
    from fastapi import FastAPI
    from httpx2 import AsyncClient
    from temporalio.client import Client
    from temporalio.testing import WorkflowEnvironment
    from temporalio.worker import Worker

    from activities.services import Services
    from db.engine import Database
    from dev.mailbox import Mailbox
    from dev.postgres import EmbeddedPostgres
    from schemas.actions import Catalogue
    from schemas.keyring import KeyRing
    from workflows.gateway import Gateway

API_KEY = "test-key-0123456789"

MakeDatabase = Callable[[], Awaitable[str]]
CHAOS = os.environ.get("SOJOURN_CHAOS") == "1"


def pytest_configure() -> None:
    """Import and collect without looking for garbage, which would take a fifth of the time."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Leave what was imported and collected out of every later look for garbage."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of the tests that `make chaos` collects, keep those that have a long form, and faults."""
    if not CHAOS:
        return
    kept = [
        item
        for item in items
        if "long" in getattr(item, "fixturenames", ()) or "faults" in item.path.parts
    ]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


@pytest.fixture(scope="session", autouse=True)
def plain_tracebacks() -> None:
    """Log an exception as our processes do; with every variable of every frame it takes seconds."""
    *others, _ = structlog.get_config()["processors"]
    renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*others, renderer])


@pytest.fixture(scope="session")
def long() -> bool:
    """Whether a test's long form is asked for, as `make chaos` does."""
    return CHAOS


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[EmbeddedPostgres]":
    """An embedded PostgreSQL server."""
    from dev.postgres import EmbeddedPostgres

    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), durable=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postgres_url(postgres: "EmbeddedPostgres") -> str:
    """The URL of the server's maintenance database."""
    return postgres.url()


async def _create(postgres: "EmbeddedPostgres", name: str, template: str | None = None) -> str:
    import asyncpg

    connection = await asyncpg.connect(postgres.url())
    try:
        source = f'TEMPLATE "{template}"' if template else ""
        await connection.execute(f'CREATE DATABASE "{name}" {source}')
    finally:
        await connection.close()
    return postgres.url(name)


@pytest.fixture(scope="session")
async def empty_database(postgres: "EmbeddedPostgres") -> MakeDatabase:
    """Call it for the URL of a new database without tables."""

    async def make() -> str:
        return await _create(postgres, f"empty_{uuid4().hex[:12]}")

    return make


@pytest.fixture(scope="session")
async def migrated_database(postgres: "EmbeddedPostgres") -> MakeDatabase:
    """Call it for the URL of a new migrated database of the caller's own."""
    from db.migrate import upgrade

    await upgrade(await _create(postgres, "template_migrated"))

    async def make() -> str:
        return await _create(postgres, f"test_{uuid4().hex[:12]}", "template_migrated")

    return make


@pytest.fixture(scope="session")
async def database_url(migrated_database: MakeDatabase) -> str:
    """The URL of the suite's migrated database."""
    return await migrated_database()


@pytest.fixture(scope="session")
async def database(database_url: str) -> "AsyncIterator[Database]":
    """The suite's database."""
    from db.engine import Database

    found = Database(database_url)
    yield found
    await found.close()


@pytest.fixture(scope="session")
async def service_database(database_url: str) -> "AsyncIterator[Database]":
    """The suite's database as the product has it: bound by policies, and without a scope blind."""
    from db.engine import Database
    from db.tenancy import SERVICE_ROLE

    found = Database(database_url, role=SERVICE_ROLE, scope=None)
    yield found
    await found.close()


@pytest.fixture(scope="session")
def ui_port() -> int:
    """The port of the development server's Web UI."""
    from dev.ports import any_port

    return any_port()


@pytest.fixture(scope="session")
async def dev_server(
    tmp_path_factory: pytest.TempPathFactory, ui_port: int
) -> "AsyncIterator[WorkflowEnvironment]":
    """Temporal's development server with its UI and our search attributes."""
    from temporalio.testing import WorkflowEnvironment

    from dev.temporal import SERVER_FLAGS, find_program
    from workflows.setup import prepare_namespace

    store = tmp_path_factory.mktemp("temporal") / "temporal.db"
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=find_program("temporal"),
        dev_server_database_filename=str(store),
        dev_server_extra_args=SERVER_FLAGS,
        ui=True,
        ui_port=ui_port,
    ) as environment:
        await prepare_namespace(environment.client)
        yield environment


@pytest.fixture(scope="session")
def web_ui(dev_server: "WorkflowEnvironment", ui_port: int) -> str:
    """The address of Temporal's Web UI."""
    return f"http://127.0.0.1:{ui_port}"


@pytest.fixture(scope="session")
def temporal_address(dev_server: "WorkflowEnvironment") -> str:
    """The development server's address, `host:port`."""
    return dev_server.client.service_client.config.target_host


@pytest.fixture(scope="session")
async def client(temporal_address: str) -> "Client":
    """A client of the development server, connected as the product connects."""
    from tests.kit.sealing import suite_codec
    from workflows.setup import connect

    return await connect(temporal_address, codec=suite_codec())


@pytest.fixture(scope="session")
async def time_skipping() -> "AsyncIterator[WorkflowEnvironment]":
    """Temporal's time-skipping server; `time_skipping.client` skips while it awaits results."""
    from temporalio.testing import WorkflowEnvironment

    from dev.temporal import find_program
    from tests.kit.sealing import suite_codec
    from workflows.setup import converter_with, prepare_namespace

    async with await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=find_program("temporal-test-server"),
        data_converter=converter_with(suite_codec()),
    ) as environment:
        await prepare_namespace(environment.client)
        yield environment


@pytest.fixture(scope="session")
async def mail_server() -> "AsyncIterator[Mailbox]":
    """The suite's SMTP server; tests take `smtp`, which empties it first."""
    from dev.mailbox import Mailbox

    server = Mailbox()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def smtp(mail_server: "Mailbox") -> "Iterator[Mailbox]":
    """An empty mailbox: `.messages`, `.to(address)`, `await .wait_for(n)`, `.refuse`, `.url`."""
    mail_server.clear()
    mail_server.refuse = None
    yield mail_server
    mail_server.refuse = None


@pytest.fixture(scope="session")
def catalogue() -> "Catalogue":
    """Every action."""
    from activities.registry import load

    return load()


@pytest.fixture(scope="session")
def keyring() -> "KeyRing":
    """The keys of the suite's connections and secrets."""
    from schemas.keyring import KEY_BYTES, KeyRing

    return KeyRing({"test": b"k" * KEY_BYTES})


@pytest.fixture(scope="session")
async def services(
    database: "Database", mail_server: "Mailbox", keyring: "KeyRing"
) -> "AsyncIterator[Services]":
    """What actions use: the suite's database and mailbox, HTTP to loopback on any port."""
    from activities.services import HttpConfig, MailConfig, MailHosts, Services

    found = Services(
        database=database,
        keyring=keyring,
        mail=MailConfig.from_url(
            mail_server.url,
            from_address="Sojourn <sojourn@example.com>",
            booking_url="https://booking.example.com/meet",
        ),
        mail_hosts=MailHosts(allow_cidrs=("127.0.0.0/8",), allow_ports=tuple(range(1024, 65536))),
        http_config=HttpConfig(allow_cidrs=("127.0.0.0/8",), allow_ports=tuple(range(1024, 65536))),
    )
    yield found
    await found.aclose()


@pytest.fixture(scope="session")
def task_queue() -> str:
    """The task queue that `worker` polls and `gateway` starts runs on."""
    return "sojourn"


@pytest.fixture(scope="session")
async def worker(
    client: "Client", services: "Services", service_database: "Database", task_queue: str
) -> "AsyncIterator[Worker]":
    """A running worker with every action, on the development server, bound by policies."""
    from activities.registry import load
    from workflows.worker_options import build_worker

    own = replace(services, database=service_database)
    async with build_worker(
        client,
        load().activities(own),
        task_queue=task_queue,
        # As in a worker process. Tests of workflows and replays run in the SDK's sandbox.
        sandboxed=False,
        graceful_shutdown=timedelta(seconds=2),
    ) as running:
        yield running
    await own.aclose()


@pytest.fixture(scope="session")
def gateway(client: "Client", task_queue: str) -> "Gateway":
    """The API's way to the development server."""
    from workflows.gateway import Gateway

    # Patient: on a busy machine an answer may take longer than people are to wait for it.
    return Gateway(client, task_queue=task_queue, deadline=15)


@pytest.fixture(scope="session")
def app(
    service_database: "Database",
    gateway: "Gateway",
    catalogue: "Catalogue",
    keyring: "KeyRing",
    services: "Services",
) -> "FastAPI":
    """The API over the suite's database and Temporal; take `worker` too where runs must run."""
    from activities.probing import Prober
    from api.app import create_app
    from api.config import ApiConfig

    return create_app(
        database=service_database,
        gateway=gateway,
        catalogue=catalogue,
        config=ApiConfig(api_key=API_KEY, public_url="http://testserver", state_deadline=5),
        keyring=keyring,
        prober=Prober(lambda: services.http, lambda: services.ai_http, mail=services.mail_targets),
    )


@pytest.fixture
async def api(app: "FastAPI", database: "Database") -> "AsyncIterator[AsyncClient]":
    """An HTTP client of the app, in process, that sends the API key.

    Whatever it changes must be in the audit: each test that uses it proves that, too.
    """
    from httpx2 import ASGITransport, AsyncClient

    from tests.kit.auditing import in_the_audit

    async with AsyncClient(
        transport=ASGITransport(app=app),
        base_url="http://testserver",
        headers={"Authorization": f"Bearer {API_KEY}"},
        event_hooks={"response": [in_the_audit(app, database)]},
    ) as client:
        yield client


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium for browser tests."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    assert found is not None, "no Chromium; 'make test' installs it for root where apt-get is there"
    return found


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return Path(__file__).resolve().parent.parent
