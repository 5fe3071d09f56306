"""Signals that no step takes: a run keeps so many, and the door says so."""

import asyncio
import time
from contextlib import suppress

import pytest
from httpx2 import AsyncClient
from temporalio.client import Client, WorkflowHandle, WorkflowQueryFailedError
from temporalio.worker import Worker

from schemas.actions import Catalogue
from schemas.errors import LimitError
from schemas.run import MAX_MAILBOX, RunStart
from schemas.validation import load_definition
from tests.integration.api.conftest import (
    WAITING,
    Publish,
    a_name,
    assert_problem,
    start,
    until_status,
)
from workflows.gateway import Gateway


def start_of(catalogue: Catalogue, history_limit: int | None = None) -> RunStart:
    """A run that waits for `go`."""
    return RunStart(
        run_id=a_name(),
        workspace="default",
        definition=load_definition(WAITING.format(name=a_name()), catalogue),
        version=1,
        input={"n": 1},
        history_limit=history_limit,
    )


async def send(handle: WorkflowHandle, count: int) -> None:
    """Send signals that nobody awaits, past the gateway."""
    for _ in range(0, count, 50):
        await asyncio.gather(*(handle.signal("other", 1) for _ in range(50)))


async def kept(handle: WorkflowHandle, count: int) -> None:
    """Wait until the run keeps so many signals."""
    async with asyncio.timeout(180):
        while True:
            # A worker that drops the run from its cache meanwhile fails the query once.
            with suppress(WorkflowQueryFailedError):
                if await handle.query("mailbox", result_type=int) == count:
                    return
            await asyncio.sleep(0.05)


async def test_a_full_mailbox_is_refused(
    api: AsyncClient, publish: Publish, worker: Worker, client: Client
) -> None:
    run_id = await start(api, await publish())
    detail = await until_status(api, run_id, "waiting")
    handle = client.get_workflow_handle(detail["workflow_id"])
    await send(handle, MAX_MAILBOX - 50)
    await kept(handle, MAX_MAILBOX - 50)
    answer = await api.post(f"/api/v1/runs/{run_id}/signals/other", json={"data": 1})
    assert answer.status_code == 202
    await send(handle, 50)
    await kept(handle, MAX_MAILBOX)
    answer = await api.post(f"/api/v1/runs/{run_id}/signals/go", json={"data": 1})
    body = assert_problem(answer, 429, "LIMIT_EXCEEDED")
    assert str(MAX_MAILBOX) in body["detail"]
    assert int(answer.headers["retry-after"]) >= 1
    assert (await api.post(f"/api/v1/runs/{run_id}/cancel")).status_code == 202
    await until_status(api, run_id, "cancelled")


async def test_a_mailbox_that_continued_as_new(
    worker: Worker, client: Client, gateway: Gateway, catalogue: Catalogue
) -> None:
    # The new execution's history is short, the mailbox it carries is not.
    made = start_of(catalogue, history_limit=MAX_MAILBOX + 20)
    await gateway.start(made)
    handle = client.get_workflow_handle(made.workflow_id)
    await send(handle, MAX_MAILBOX + 50)
    async with asyncio.timeout(180):
        while True:
            found = await gateway.describe(made.workflow_id)
            if found is not None and found.run_id != found.first_run_id:
                break
            await asyncio.sleep(0.05)
    assert found.history_length < MAX_MAILBOX
    await kept(handle, MAX_MAILBOX)
    with pytest.raises(LimitError):
        await gateway.signal(made.workflow_id, "go", 1)
    await gateway.cancel(made.workflow_id)


async def test_signals_are_kept_while_no_worker_answers(
    client: Client, catalogue: Catalogue
) -> None:
    idle = Gateway(client, task_queue=a_name("nobody"))
    made = start_of(catalogue)
    await idle.start(made)
    handle = client.get_workflow_handle(made.workflow_id)
    await send(handle, MAX_MAILBOX + 50)
    before = (await handle.describe()).history_length
    began = time.monotonic()
    await idle.signal(made.workflow_id, "go", 1)
    assert time.monotonic() - began < 10
    assert (await handle.describe()).history_length == before + 1
    await handle.terminate("test")
