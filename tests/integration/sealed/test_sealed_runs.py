"""Runs with encryption required: whole journeys, what Temporal keeps of them, and strangers."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from temporalio.api.common.v1 import Payloads, WorkflowExecution
from temporalio.api.workflowservice.v1 import SignalWorkflowExecutionRequest
from temporalio.client import (
    Client,
    ScheduleActionExecutionStartWorkflow,
    WorkflowHistory,
)
from temporalio.worker import Replayer

from db.engine import Database
from dev.examples import publish_examples
from dev.mailbox import Mailbox
from tests.integration.api.conftest import Publish, publish, start, until_status
from tests.kit.journey import Journey, submit
from tests.kit.sealing import payloads_of, sealing, unsealed
from workflows.interpreter import Interpreter
from workflows.scheduling import Schedules, retention_schedule
from workflows.setup import DATA_CONVERTER, converter_with
from workflows.worker_options import sandbox

__all__ = ["publish"]
pytestmark = pytest.mark.usefixtures("worker")


async def history_of(outsider: Client, workflow_id: str) -> WorkflowHistory:
    return await outsider.get_workflow_handle(workflow_id).fetch_history()


async def test_the_lead_journey(
    hurried: FastAPI, api: AsyncClient, database: Database, smtp: Mailbox, outsider: Client
) -> None:
    await publish_examples(api)
    journey: Journey = await submit(hurried, api, database, smtp, 5000)
    await journey.mailbox.wait_for(1, to=journey.email, deadline=60)
    await journey.tell("replied", datetime.now(UTC))
    row = await journey.ended()
    assert (row.status, row.output) == ("completed", {"result": "replied"})
    history = await history_of(outsider, journey.workflow_id)
    assert sum(1 for event in history.events for _ in payloads_of(event)) > 20
    assert unsealed(history) == []
    kept = b"".join(event.SerializeToString() for event in history.events)
    for told in (journey.email, "Analytical Engines", "Welcome"):
        assert told.encode() not in kept, told
    # With the keys it replays.
    await Replayer(
        workflows=[Interpreter],
        workflow_runner=sandbox(),
        data_converter=converter_with(sealing()),
        namespace="default",
    ).replay_workflow(history)


async def waiting(api: AsyncClient, publish: Publish) -> tuple[str, str]:
    """A run that waits for the signal `go`; gives its id and its workflow's."""
    run_id = await start(api, await publish())
    found = await until_status(api, run_id, "waiting")
    return run_id, found["workflow_id"]


async def send(outsider: Client, workflow_id: str, payloads: Payloads) -> None:
    """Signal `go` with payloads as they are, as somebody could who reaches Temporal."""
    await outsider.workflow_service.signal_workflow_execution(
        SignalWorkflowExecutionRequest(
            namespace="default",
            workflow_execution=WorkflowExecution(workflow_id=workflow_id),
            signal_name="go",
            input=payloads,
            request_id=uuid4().hex,
        )
    )


async def test_strangers_are_not_heard(
    api: AsyncClient, publish: Publish, outsider: Client
) -> None:
    run_id, workflow_id = await waiting(api, publish)
    other, other_workflow = await waiting(api, publish)
    plain = await DATA_CONVERTER.encode_wrapper([{"from": "a stranger"}])
    await send(outsider, workflow_id, plain)
    # What was sealed for another run is of no use here either.
    await api.post(f"/api/v1/runs/{other}/signals/go", json={"data": {"for": "the other"}})
    await until_status(api, other, "completed")
    copied: Payloads | None = None
    for event in (await history_of(outsider, other_workflow)).events:
        if event.HasField("workflow_execution_signaled_event_attributes"):
            copied = event.workflow_execution_signaled_event_attributes.input
    assert copied is not None
    await send(outsider, workflow_id, copied)
    await api.post(f"/api/v1/runs/{run_id}/signals/go", json={"data": {"for": "this one"}})
    found = await until_status(api, run_id, "completed")
    assert found["output"] == {"for": "this one"}


async def test_signals_without_data_need_no_key(
    api: AsyncClient, publish: Publish, outsider: Client
) -> None:
    run_id, workflow_id = await waiting(api, publish)
    await outsider.get_workflow_handle(workflow_id).signal("pause")
    await until_status(api, run_id, "paused")
    await outsider.get_workflow_handle(workflow_id).cancel()
    await until_status(api, run_id, "cancelled")
    assert unsealed(await history_of(outsider, workflow_id)) == []


async def test_an_update_in_plaintext_is_refused(
    api: AsyncClient, publish: Publish, outsider: Client, client: Client
) -> None:
    run_id, workflow_id = await waiting(api, publish)
    with pytest.raises(Exception, match="update failed"):
        await outsider.get_workflow_handle(workflow_id).execute_update("set_vars", {"vars": {}})
    assert (await until_status(api, run_id, "waiting"))["status"] == "waiting"
    # Whoever has no key can ask, and cannot read the answer.
    with pytest.raises(KeyError, match="sojourn/sealed"):
        await outsider.get_workflow_handle(workflow_id).query("state")
    assert (await client.get_workflow_handle(workflow_id).query("state"))["status"] == "waiting"


async def test_what_a_schedule_starts_opens_the_schedules_input(
    client: Client, outsider: Client, task_queue: str
) -> None:
    """Also the second one, which Temporal hands the first one's result."""

    async def at_once(call: Any) -> Any:
        return await call

    workspace = f"acme-{uuid4().hex[:8]}"
    schedule = retention_schedule(workspace, task_queue)
    identity = f"sojourn/{workspace}/retention"
    await Schedules(client, task_queue, at_once).put(identity, schedule)
    handle = client.get_schedule_handle(identity)
    started: list[str] = []
    for count in (1, 2):
        await handle.trigger()
        async with asyncio.timeout(120):
            while len(started) < count:
                actions = (await handle.describe()).info.recent_actions
                started = [
                    action.action.workflow_id
                    for action in actions
                    if isinstance(action.action, ScheduleActionExecutionStartWorkflow)
                ]
                await asyncio.sleep(0.05)
        await client.get_workflow_handle(started[-1]).result()
        if count == 1:
            # Its id has the second in it; a second one in the same second would be the same.
            await asyncio.sleep(1.1)
    for workflow_id in started:
        assert workflow_id.startswith(f"{identity}-")
        assert unsealed(await history_of(outsider, workflow_id)) == []
    await handle.delete()
