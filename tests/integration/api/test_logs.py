"""Logs of runs: what actions write down, masked, capped, read forward and followed."""

import asyncio
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from pydantic import BaseModel
from temporalio.client import Client
from temporalio.worker import Worker

from activities.context import ActionContext
from activities.errors import ActionError
from activities.registry import Registry, _actions_of, action, load
from activities.services import Services
from api.app import create_app
from api.config import ApiConfig
from db import run_logs, runs
from db.engine import Database
from db.run_logs import MAX_LINE_BYTES, MAX_LINES, Line, LogLevel
from schemas.masking import Masking
from tests.integration.api.conftest import (
    API_KEY,
    YAML,
    Publish,
    client_of,
    start,
    until_status,
)
from tests.kit.serving import served
from workflows.gateway import Gateway
from workflows.worker_options import build_worker

MASKING = Masking("test")


class Params(BaseModel):
    """How often to fail first."""

    failures: int = 0


class Result(BaseModel):
    """Nothing."""


@action("noted")
async def noted(params: Params, context: ActionContext) -> Result:
    """Write lines down."""
    context.log("info", "to ada@example.com", token="hush-hush", attempt=context.attempt)
    context.log("debug", "a detail")
    context.printed("printed one", "printed two")
    if context.attempt <= params.failures:
        raise ActionError("not yet: password=hush-hush", code="HTTP_ERROR")
    return Result()


NOTED = """
name: {name}
input: {{type: object}}
steps:
  - id: first
    type: noted
    retry: {{attempts: 3, initial: 100ms, jitter: false}}
    with: {{failures: 1}}
  - {{id: go, type: wait, signal: go, timeout: 1h}}
"""


@pytest.fixture
async def noting(client: Client, database: Database) -> AsyncIterator[AsyncClient]:
    """A client of an API, and a worker, that know the action `noted`."""
    queue = f"logs-{uuid4().hex[:8]}"
    registry = Registry([*load()._actions.values(), *_actions_of(sys.modules[__name__])])
    app = create_app(
        database=database,
        gateway=Gateway(client, task_queue=queue, deadline=15),
        catalogue=registry,
        config=ApiConfig(api_key=API_KEY, state_deadline=5),
    )
    worker = build_worker(
        client,
        registry.activities(Services(database=database)),
        task_queue=queue,
        graceful_shutdown=timedelta(seconds=1),
    )
    async with worker, client_of(app) as api:
        yield api


async def until_lines(api: AsyncClient, run_id: str, count: int) -> list[dict[str, object]]:
    async with asyncio.timeout(120):
        while True:
            lines = (await api.get(f"/api/v1/runs/{run_id}/logs")).json()["items"]
            if len(lines) >= count:
                return lines
            await asyncio.sleep(0.05)


async def test_an_action_and_an_operator_leave_masked_lines(noting: AsyncClient) -> None:
    name = f"noted-{uuid4().hex[:8]}"
    made = await noting.post(
        "/api/v1/definitions",
        params={"publish": True},
        content=NOTED.format(name=name),
        headers=YAML,
    )
    assert made.status_code == 201, made.text
    run_id = await start(noting, name)
    await until_status(noting, run_id, "waiting")
    assert (await noting.post(f"/api/v1/runs/{run_id}/pause")).status_code == 202
    lines = await until_lines(noting, run_id, 10)
    shown = [(line["level"], line["source"], line["step"]) for line in lines]
    attempt = [
        ("info", "activity", "first"),
        ("debug", "activity", "first"),
        ("info", "code", "first"),
        ("info", "code", "first"),
    ]
    assert shown == [
        *attempt,
        ("warning", "system", "first"),
        *attempt,
        ("info", "operator", None),
    ]
    assert "hush" not in str(lines)
    assert "example.com" not in str(lines)
    assert lines[0]["metadata"] == {"token": "***", "attempt": 1}
    assert str(lines[0]["message"]).startswith("to email:")
    assert lines[4]["metadata"] == {"code": "HTTP_ERROR", "attempt": 1, "retryable": True}
    assert lines[-1]["message"] == "run.pause by key:bootstrap"

    async def ask(**wanted: str | int) -> list[str]:
        page = (await noting.get(f"/api/v1/runs/{run_id}/logs", params=wanted)).json()
        return [line["message"] for line in page["items"]]

    assert await ask(q="PRINTED", limit=1) == ["printed one"]
    assert await ask(level="warning") == [lines[4]["message"]]
    assert len(await ask(step="first")) == 9
    assert await ask(q="100%") == []
    seen: list[str] = []
    after, more = 0, True
    while more:
        answer = await noting.get(
            f"/api/v1/runs/{run_id}/logs", params={"after": after, "limit": 3}
        )
        page = answer.json()
        seen += [line["message"] for line in page["items"]]
        after, more = page["next"], page["more"]
    assert seen == [line["message"] for line in lines]
    await noting.post(f"/api/v1/runs/{run_id}/cancel")


async def a_run(database: Database, workspace: str = "logs") -> str:
    async with database.session() as session:
        row = await runs.insert_queued(session, workspace, definition="demo", version=1, input={})
    return row.id


async def test_a_full_log_says_so_once(database: Database) -> None:
    run_id = await a_run(database)

    async def write(count: int, offset: int = 0) -> int:
        lines = [
            Line(level=LogLevel.INFO, message=f"line {offset + number}") for number in range(count)
        ]
        async with database.session() as session:
            return await run_logs.write(session, "logs", run_id, lines, MASKING)

    assert await write(MAX_LINES - 2) == MAX_LINES - 2
    # Many at once: nobody goes above the cap.
    assert sum(await asyncio.gather(*(write(5, 2000) for _ in range(4)))) == 2
    assert await write(3, 3000) == 0
    async with database.session() as session:
        rows = await run_logs.page(session, "logs", run_id, limit=2000)
    assert len(rows) == MAX_LINES
    assert [row.message for row in rows[:2]] == ["line 0", "line 1"]
    assert sum("the log is full" in row.message for row in rows) == 1
    assert "the log is full" in rows[-1].message


@pytest.mark.parametrize(
    "message",
    ["x" * 10_000, "€" * 3_000, "nul\x00 and half \ud800", "y" * 300_000 + " password=hush-hush"],
    ids=["ascii", "wide", "unstorable", "huge"],
)
async def test_a_line_keeps_within_its_bytes(database: Database, message: str) -> None:
    run_id = await a_run(database)
    data = {"small": 1}
    async with database.session() as session:
        line = Line(level=LogLevel.INFO, message=message, data=data)
        await run_logs.write(session, "logs", run_id, [line], MASKING)
        [row] = await run_logs.page(session, "logs", run_id)
    size = len(row.message.encode())
    assert size <= MAX_LINE_BYTES
    assert row.data == data
    if len(message) > MAX_LINE_BYTES:
        assert f"cut from {len(message.encode())} bytes" in row.message
        assert size > MAX_LINE_BYTES - 100
    assert "hush" not in row.message


async def test_large_metadata_give_way_to_the_message(database: Database) -> None:
    run_id = await a_run(database)
    line = Line(level=LogLevel.INFO, message="kept", data={"much": ["z" * 100] * 100})
    async with database.session() as session:
        await run_logs.write(session, "logs", run_id, [line], MASKING)
        [row] = await run_logs.page(session, "logs", run_id)
    assert row.message == "kept"
    assert set(row.data or {}) == {"cut"}


async def test_an_unwritable_log_fails_no_step(
    client: Client, api: AsyncClient, database: Database
) -> None:
    """The run's row is elsewhere: every write of a line is refused."""
    from temporalio import activity
    from temporalio.testing import ActivityEnvironment

    from activities.execution import execute
    from schemas.actions import StepContext

    entry = next(iter(_actions_of(sys.modules[__name__])))
    step = StepContext(workspace="logs", definition="demo", run_id=f"no-{uuid4().hex}", path="a")

    async def attempt() -> object:
        assert activity.in_activity()
        return await execute(entry, Services(database=database), {}, step.model_dump(mode="json"))

    assert await ActivityEnvironment().run(attempt) == {"attempt": 1, "result": {}}


async def test_the_command_prints_and_follows(
    app: FastAPI, api: AsyncClient, publish: Publish, worker: Worker, repository: Path
) -> None:
    async with served(app) as address:
        await follow(api, publish, repository, address)


async def follow(api: AsyncClient, publish: Publish, repository: Path, address: str) -> None:
    """Follow a run's log by the command while operators are at it."""
    run_id = await start(api, await publish())
    await until_status(api, run_id, "waiting")
    await api.post(f"/api/v1/runs/{run_id}/pause")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli", "logs", run_id, "-f"),
        cwd=repository,
        env={"SOJOURN_URL": address, "SOJOURN_API_KEY": API_KEY, "PATH": ""},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    async with asyncio.timeout(120):
        first = (await process.stdout.readline()).decode()
        assert "operator: run.pause by key:bootstrap" in first
        await api.post(f"/api/v1/runs/{run_id}/cancel")
        rest = (await process.stdout.read()).decode()
        assert await process.wait() == 0, rest
    assert "run.cancel by key:bootstrap" in rest
