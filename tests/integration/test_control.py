"""Pause, resume and cancel: through the API and with Temporal's own program."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest
from httpx2 import AsyncClient
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.worker import Worker

from db import runs
from db.engine import Database
from dev.temporal import find_program

Steer = Callable[[str, str], Awaitable[None]]
SLEEP = """
name: {name}
steps:
  - {{id: think, type: delay, for: {length}}}
  - {{id: after, type: set, vars: {{done: true}}}}
output: {{done: "{{{{ vars.done }}}}"}}
"""
CALL = """
name: {name}
steps:
  - {{id: call, type: http, timeout: 50s, with: {{url: "http://127.0.0.1:{port}/"}}}}
"""


@pytest.fixture(params=["api", "temporal"])
def steer(request: pytest.FixtureRequest, api: AsyncClient, temporal_address: str) -> Steer:
    """Call it with a run and `pause`, `resume` or `cancel`."""

    async def by_api(run: str, verb: str) -> None:
        answer = await api.post(f"/api/v1/runs/{run}/{verb}")
        assert answer.status_code == 202, answer.text

    async def by_program(run: str, verb: str) -> None:
        workflow_id = (await api.get(f"/api/v1/runs/{run}")).json()["workflow_id"]
        await temporal(temporal_address, "signal", "--workflow-id", workflow_id, "--name", verb)

    return by_api if request.param == "api" else by_program


async def temporal(address: str, command: str, *arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(find_program("temporal"), "workflow", command, "--address", address, *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


async def begin(api: AsyncClient, source: str, **values: Any) -> str:
    name = f"control-{uuid4().hex[:12]}"
    answer = await api.post(
        "/api/v1/definitions?publish=true",
        content=source.format(name=name, **values),
        headers={"content-type": "application/yaml"},
    )
    assert answer.status_code == 201, answer.text
    answer = await api.post(f"/api/v1/definitions/{name}/runs", json={"input": {}})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


async def until(api: AsyncClient, run: str, status: str) -> dict[str, Any]:
    async with asyncio.timeout(180):
        while True:
            found = (await api.get(f"/api/v1/runs/{run}")).json()
            if found["status"] == status:
                return found
            await asyncio.sleep(0.05)


async def steps(api: AsyncClient, run: str) -> dict[str, str]:
    found = (await api.get(f"/api/v1/runs/{run}/steps")).json()
    return {step["path"]: step["status"] for step in found}


async def ended(
    api: AsyncClient, database: Database, client: Client, run: str, status: str
) -> dict[str, Any]:
    """PostgreSQL's row and Temporal agree on the end; gives the API's view."""
    found = await until(api, run, status)
    async with database.session() as session:
        assert (await runs.get(session, "default", run)).status == status
    closed = {
        "completed": WorkflowExecutionStatus.COMPLETED,
        "cancelled": WorkflowExecutionStatus.CANCELED,
    }[status]
    handle = client.get_workflow_handle(found["workflow_id"])
    async with asyncio.timeout(180):
        # The row is written just before the workflow closes.
        while (await handle.describe()).status is WorkflowExecutionStatus.RUNNING:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert (await handle.describe()).status is closed
    return found


async def test_a_paused_run_starts_nothing_until_it_is_resumed(
    api: AsyncClient, worker: Worker, database: Database, client: Client, steer: Steer
) -> None:
    run = await begin(api, SLEEP, length="2s")
    await until(api, run, "waiting")
    await steer(run, "pause")
    await until(api, run, "paused")
    async with asyncio.timeout(180):
        while (await steps(api, run))["think"] != "completed":  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert (await until(api, run, "paused"))["output"] is None
    assert (await steps(api, run)).get("after", "pending") == "pending"
    await steer(run, "resume")
    assert (await ended(api, database, client, run, "completed"))["output"] == {"done": True}


async def test_cancel_during_a_delay(
    api: AsyncClient, worker: Worker, database: Database, client: Client, steer: Steer
) -> None:
    run = await begin(api, SLEEP, length="3d")
    await until(api, run, "waiting")
    await steer(run, "cancel")
    await ended(api, database, client, run, "cancelled")
    assert (await steps(api, run))["think"] == "cancelled"


async def test_temporals_own_cancel(
    api: AsyncClient, worker: Worker, database: Database, client: Client, temporal_address: str
) -> None:
    run = await begin(api, SLEEP, length="3d")
    found = await until(api, run, "waiting")
    await temporal(temporal_address, "cancel", "--workflow-id", found["workflow_id"])
    await ended(api, database, client, run, "cancelled")
    assert (await steps(api, run))["think"] == "cancelled"


async def test_cancel_during_a_call_that_hangs(
    api: AsyncClient, worker: Worker, database: Database, client: Client, steer: Steer
) -> None:
    called, release = asyncio.Event(), asyncio.Event()

    async def hold(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        called.set()
        await release.wait()
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    try:
        run = await begin(api, CALL, port=server.sockets[0].getsockname()[1])
        async with asyncio.timeout(180):
            await called.wait()
        await steer(run, "cancel")
        await ended(api, database, client, run, "cancelled")
        assert (await steps(api, run))["call"] == "cancelled"
    finally:
        release.set()
        server.close()
