"""Two worker processes and one provider that fails: what one has seen, the other knows."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlmodel import col
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError

from db.ai_breakers import AiBreaker
from db.engine import Database
from schemas.actions import Catalogue
from schemas.run import RunStart
from schemas.validation import load_definition
from tests.integration.deploy.compose import ROOT
from tests.servers.ai_server import AiServer
from workflows.gateway import Gateway

SOURCE = """
name: ask
steps: [{id: ask, type: ai, retry: {attempts: 1}, with: {model: 'openai:small', prompt: Hi}}]
"""


@pytest.fixture
async def server() -> AsyncIterator[AiServer]:
    async with AiServer(text="Good day.") as running:
        yield running


@pytest.fixture
async def queues(
    server: AiServer, temporal_address: str, database_url: str, tmp_path: Path
) -> AsyncIterator[list[str]]:
    """The task queues of two worker processes, one each."""
    names = [f"ai-{place}-{uuid4().hex[:8]}" for place in "ab"]
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    processes: list[asyncio.subprocess.Process] = []
    for name in names:
        settings = {
            "PYTHONPATH": str(ROOT),
            "DATABASE_URL": database_url,
            "TEMPORAL_ADDRESS": temporal_address,
            "SOJOURN_TASK_QUEUE": name,
            "SOJOURN_AI_OPENAI_BASE_URL": server.openai_url,
            "SOJOURN_AI_BREAKER_FAILURES": "2",
            "SOJOURN_AI_BREAKER_OPEN": "600",
        }
        with (tmp_path / name).open("wb") as log:
            processes.append(
                await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "worker",
                    cwd=tmp_path,
                    env=inherited | settings,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )
    yield names
    for process in processes:
        process.kill()
        await process.wait()


async def test_a_circuit_is_seen_by_two_worker_processes(
    queues: list[str], server: AiServer, client: Client, catalogue: Catalogue, database: Database
) -> None:
    definition = load_definition(SOURCE, catalogue)

    async def run(queue: str) -> str:
        """Run one ai step on this worker; gives the code of its error, or ok."""
        start = RunStart(run_id=str(uuid4()), workspace="default", definition=definition, version=1)
        await Gateway(client, task_queue=queue).start(start)
        try:
            async with asyncio.timeout(180):
                await client.get_workflow_handle(start.workflow_id).result()
        except WorkflowFailureError as error:
            return error.cause.type or "?" if isinstance(error.cause, ApplicationError) else "?"
        return "ok"

    assert await asyncio.gather(*map(run, queues)) == ["ok", "ok"]
    server.status = 500
    # One failure in each: neither alone has seen enough.
    assert [await run(queue) for queue in queues] == ["AI_UNAVAILABLE"] * 2
    assert await asyncio.gather(*map(run, queues)) == ["CIRCUIT_OPEN"] * 2
    assert len(server.calls) == 4

    # Half open: of both at once one may try.
    ours = col(AiBreaker.endpoint) == f"openai {server.openai_url}"
    async with database.session() as session:
        await session.exec(sa.update(AiBreaker).where(ours).values(open_until=sa.func.now()))
    server.status, server.delay = 200, 1.0
    assert sorted(await asyncio.gather(*map(run, queues))) == ["CIRCUIT_OPEN", "ok"]
    assert len(server.calls) == 5
    server.delay = 0
    assert await asyncio.gather(*map(run, queues)) == ["ok", "ok"]
