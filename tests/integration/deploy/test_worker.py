"""The worker process: it lets work finish when told to stop, and dies loudly otherwise."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import uuid4

import pytest
from pytest_httpserver import HTTPServer
from temporalio.client import Client
from werkzeug import Request, Response

from schemas.actions import Catalogue
from schemas.run import RunStart
from schemas.validation import load_definition
from tests.integration.deploy.compose import ROOT
from tests.servers.ai_server import AiServer
from workflows.gateway import Gateway

DEADLINE = 180.0
Start = Callable[..., "asyncio.subprocess.Process"]


def environment(**more: str) -> dict[str, str]:
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**inherited, "PYTHONPATH": str(ROOT), "SOJOURN_LOG_FORMAT": "json", **more}


@pytest.fixture
async def start_worker(tmp_path: Path) -> AsyncIterator[Start]:
    """Call it with settings to start a worker process; its log is the file `log`."""
    started: list[asyncio.subprocess.Process] = []

    async def start(**settings: str) -> asyncio.subprocess.Process:
        with (tmp_path / "log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "worker",
                cwd=tmp_path, env=environment(**settings),
                stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        started.append(process)
        return process

    yield start  # pyright: ignore[reportReturnType]
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_what_runs_is_finished_before_the_worker_leaves(
    start_worker, client: Client, temporal_address: str, database_url: str,
    catalogue: Catalogue, httpserver: HTTPServer, tmp_path: Path,
) -> None:  # fmt: skip
    called, release = threading.Event(), threading.Event()

    def slow(_: Request) -> Response:
        called.set()
        release.wait(DEADLINE)
        return Response("{}", content_type="application/json")

    httpserver.expect_request("/slow").respond_with_handler(slow)
    queue = f"stopping-{uuid4().hex[:8]}"
    process = await start_worker(
        DATABASE_URL=database_url,
        TEMPORAL_ADDRESS=temporal_address,
        SOJOURN_TASK_QUEUE=queue,
        SOJOURN_HTTP_ALLOW_CIDRS="127.0.0.0/8",
        SOJOURN_HTTP_ALLOW_PORTS=str(httpserver.port),
    )
    source = f"""
name: slow
steps: [{{id: call, type: http, timeout: 50s, with: {{url: "{httpserver.url_for("/slow")}"}}}}]
"""
    start = RunStart(
        run_id=str(uuid4()),
        workspace="default",
        definition=load_definition(source, catalogue),
        version=1,
    )
    await Gateway(client, task_queue=queue, deadline=15).start(start)
    assert await asyncio.to_thread(called.wait, DEADLINE), (tmp_path / "log").read_text()

    process.terminate()
    async with asyncio.timeout(DEADLINE):
        while b"shutdown" not in (tmp_path / "log").read_bytes():  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        assert process.returncode is None
        release.set()
        assert await process.wait() == 0
    history = await client.get_workflow_handle(start.workflow_id).fetch_history()
    kinds = [event.WhichOneof("attributes") for event in history.events]
    assert "activity_task_completed_event_attributes" in kinds
    assert len(httpserver.log) == 1


async def test_ai_libraries_are_loaded_before_the_first_task(
    start_worker, client: Client, temporal_address: str, database_url: str,
    catalogue: Catalogue, tmp_path: Path,
) -> None:  # fmt: skip
    queue = f"asking-{uuid4().hex[:8]}"
    source = "name: ask\nsteps: [{id: ask, type: ai, with: {model: 'openai:small', prompt: Hi}}]\n"
    start = RunStart(
        run_id=str(uuid4()),
        workspace="default",
        definition=load_definition(source, catalogue),
        version=1,
    )
    async with AiServer(text="Good day.") as server:
        process = await start_worker(
            DATABASE_URL=database_url,
            TEMPORAL_ADDRESS=temporal_address,
            SOJOURN_TASK_QUEUE=queue,
            SOJOURN_AI_OPENAI_BASE_URL=server.openai_url,
        )
        gateway = Gateway(client, task_queue=queue, deadline=15)
        await gateway.start(start)
        async with asyncio.timeout(DEADLINE):
            await client.get_workflow_handle(start.workflow_id).result()
        steps = (await gateway.state(start.workflow_id, deadline=10)).steps
    assert steps["ask"].output["output"] == "Good day."
    log = (tmp_path / "log").read_text()
    assert log.index("AI libraries are loaded") < log.index("worker polls")
    process.terminate()
    assert await process.wait() == 0


async def test_a_worker_that_cannot_work_exits_non_zero(
    start_worker, temporal_address: str, database_url: str, tmp_path: Path
) -> None:
    process = await start_worker(
        DATABASE_URL=database_url,
        TEMPORAL_ADDRESS=temporal_address,
        TEMPORAL_NAMESPACE="there-is-none",
    )
    async with asyncio.timeout(DEADLINE):
        assert await process.wait() == 1
    assert "the worker died" in (tmp_path / "log").read_text()


async def test_a_worker_waits_for_temporal_and_can_be_stopped_meanwhile(
    start_worker, database_url: str, tmp_path: Path
) -> None:
    process = await start_worker(DATABASE_URL=database_url, TEMPORAL_ADDRESS="127.0.0.1:1")
    async with asyncio.timeout(DEADLINE):
        while b"no Temporal at" not in (tmp_path / "log").read_bytes():  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        process.terminate()
        assert await process.wait() == 0
