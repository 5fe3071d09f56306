"""A bug of our own stops a run and does not end it: a worker without the bug carries it on."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle

from activities.services import Services
from tests.kit import probes
from tests.kit.running import Runner
from workflows.worker_options import build_worker

DEFINITION = """
name: own-bug
steps:
  - {id: before, type: probe, with: {value: 1}}
  - id: both
    type: parallel
    branches:
      - {name: a, do: [{id: note, type: set, vars: {x: 2}}]}
      - {name: b, do: [{id: told, type: wait, signal: go}]}
  - {id: after, type: probe, with: {value: "{{ vars.x + steps.told.output }}"}}
output: "{{ steps.after.output.value }}"
"""


def broken(*args: Any, **kwargs: Any) -> Any:
    raise TypeError("a bug of our own")


async def stuck(handle: WorkflowHandle[Any, Any]) -> str:
    """Wait until a workflow task has failed; gives the failure's message."""
    async with asyncio.timeout(180):
        async for event in handle.fetch_history_events(wait_new_event=True):
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
                return event.workflow_task_failed_event_attributes.failure.message
    raise AssertionError("the run ended")


# The bug strikes in a step's body, or where the state of the run is written down.
@pytest.mark.parametrize("place", ["workflows.steps.vars.run", "workflows.recorder.describe"])
async def test_a_fixed_worker_carries_the_run_on(
    client: Client, services: Services, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    queue = f"own-bug-{uuid4().hex}"
    found = probes.registry()
    activities = found.activities(services)
    runner = Runner(client, queue, found)
    start = runner.start_of(DEFINITION)
    handle = await runner.start(start)
    with monkeypatch.context() as patch:
        patch.setattr(place, broken)
        # Outside the sandbox, whose own copy of the interpreter would not have the bug.
        async with build_worker(client, activities, task_queue=queue, sandboxed=False):
            assert "a bug of our own" in await stuck(handle)
            assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
    # What arrives meanwhile is kept.
    await handle.signal("go", 3)
    async with build_worker(client, activities, task_queue=queue):
        ended = await runner.end(handle)
    assert ended.state.status == "completed"
    assert ended.state.output == 5
    assert set(ended.steps.values()) == {"completed"}
    # What was done before the bug struck is not done again.
    done = [path for run_id, path in probes.calls if run_id == start.run_id]
    assert done == ["before", "after"]
