"""No worker polls the task queue: readiness, the metrics and every open run say so."""

import asyncio

import pytest
from httpx2 import AsyncClient
from structlog.testing import capture_logs
from temporalio.client import Client
from typer.testing import CliRunner

from api import queue_gauges
from api.app import create_app
from api.config import ApiConfig
from cli import app as command
from db.engine import Database
from schemas.actions import Catalogue
from tests.integration.api.conftest import (
    API_KEY,
    Publish,
    a_name,
    client_of,
    start,
    until_status,
)
from tests.kit.serving import served
from workflows.gateway import Gateway

pytestmark = pytest.mark.usefixtures("worker")


async def test_a_queue_that_nobody_polls(
    api: AsyncClient,
    publish: Publish,
    database: Database,
    client: Client,
    catalogue: Catalogue,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(queue_gauges, "PATIENCE", 15.0)
    name, queue = await publish(), a_name("nobody")
    app = create_app(
        database=database,
        gateway=Gateway(client, task_queue=queue, deadline=10),
        catalogue=catalogue,
        config=ApiConfig(api_key=API_KEY),
    )
    async with client_of(app) as idle:
        run_id = await start(idle, name)
        run = (await idle.get(f"/api/v1/runs/{run_id}")).json()
        assert (run["no_worker"], run["stale"]) == (True, True)
        answer = await idle.get("/readyz")
        assert (answer.status_code, answer.json()["down"]) == (503, ["workers"])
        assert queue in answer.json()["message"]
        metrics = (await idle.get("/metrics")).text
        sample = f'sojourn_task_queue_pollers{{kind="workflow",task_queue="{queue}"}} 0.0'
        assert sample in metrics
    async with served(app) as address:
        monkeypatch.setenv("SOJOURN_URL", address)
        monkeypatch.setenv("SOJOURN_API_KEY", API_KEY)
        with capture_logs():
            shown = await asyncio.to_thread(CliRunner().invoke, command, ("show", run_id))
    assert "no worker polls" in shown.stdout
    # The control: the suite's worker polls its own queue.
    other = await start(api, name)
    run = await until_status(api, other, "waiting")
    assert (run["no_worker"], run["stale"]) == (False, False)
    assert (await api.get("/readyz")).json()["workers"]
    for one in (run_id, other):
        answer = await api.post(f"/api/v1/runs/{one}/terminate", json={"reason": "a test"})
        assert answer.json()["status"] == "terminated"
