"""The suite's servers with payload encryption required: a client, a worker and an API of its own.

Under the names of the suite's own, so that what is tested elsewhere is tested here as it stands.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient
from temporalio.client import Client
from temporalio.worker import Worker

from activities.registry import load
from activities.services import AiConfig, Services
from api.app import create_app
from api.config import ApiConfig
from db.engine import Database
from schemas.actions import Catalogue
from schemas.keyring import KeyRing
from telemetry import MeteringMiddleware, Telemetry
from tests.kit.journey import Journey
from tests.kit.sealing import sealing
from workflows.gateway import Gateway
from workflows.setup import connect
from workflows.worker_options import build_worker

TIMESCALE = timedelta(days=3) / timedelta(seconds=1)
UI = "https://temporal.example.com"


@pytest.fixture(scope="session")
def telemetry() -> Telemetry:
    """The metrics of this folder's processes."""
    return Telemetry()


@pytest.fixture(scope="session")
async def client(temporal_address: str, telemetry: Telemetry) -> Client:
    """A client that seals and takes sealed payloads only."""
    return await connect(temporal_address, codec=sealing(), runtime=telemetry.runtime)


@pytest.fixture(scope="session")
async def outsider(temporal_address: str) -> Client:
    """A client without keys: it sees what Temporal keeps."""
    return await connect(temporal_address)


@pytest.fixture(scope="session")
def task_queue() -> str:
    """The task queue of the worker that seals."""
    return "sealed"


@pytest.fixture(scope="session")
async def services(services: Services) -> AsyncIterator[Services]:
    """The suite's, with models on loopback."""
    ai = AiConfig(allow_cidrs=("127.0.0.0/8",), allow_ports=tuple(range(1024, 65536)))
    found = replace(services, ai=ai)
    yield found
    await found.aclose()


@pytest.fixture(scope="session")
async def worker(client: Client, services: Services, task_queue: str) -> AsyncIterator[Worker]:
    """A worker that seals."""
    async with build_worker(
        client,
        load().activities(services),
        task_queue=task_queue,
        graceful_shutdown=timedelta(seconds=2),
    ) as running:
        yield running


@pytest.fixture(scope="session")
def gateway(client: Client, task_queue: str) -> Gateway:
    """The API's way to Temporal, sealed."""
    return Gateway(client, task_queue=task_queue, deadline=15)


def make_app(
    database: Database,
    gateway: Gateway,
    catalogue: Catalogue,
    keyring: KeyRing,
    timescale: float,
    *,
    ui_origin: str | None = UI,
) -> FastAPI:
    """Build the API over the sealed gateway; `timescale` divides every timer."""
    return create_app(
        database=database,
        gateway=gateway,
        catalogue=catalogue,
        config=ApiConfig(
            api_key=Journey.API_KEY,
            public_url="http://testserver",
            state_deadline=5,
            timescale=timescale,
            temporal_ui_origin=ui_origin,
        ),
        keyring=keyring,
    )


@pytest.fixture(scope="session")
def app(
    database: Database,
    gateway: Gateway,
    catalogue: Catalogue,
    keyring: KeyRing,
    telemetry: Telemetry,
) -> FastAPI:
    """The API over it."""
    found = make_app(database, gateway, catalogue, keyring, 1.0)
    found.add_middleware(MeteringMiddleware, telemetry=telemetry)
    return found


@pytest.fixture(scope="session")
def hurried(
    database: Database, gateway: Gateway, catalogue: Catalogue, keyring: KeyRing
) -> FastAPI:
    """The same, where three days pass in a second."""
    return make_app(database, gateway, catalogue, keyring, TIMESCALE)


@pytest.fixture
async def api(app: FastAPI) -> AsyncIterator[AsyncClient]:
    """A client of the API, with its key."""
    async with AsyncClient(
        transport=ASGITransport(app=app),
        base_url="http://testserver",
        headers={"Authorization": f"Bearer {Journey.API_KEY}"},
    ) as found:
        yield found
