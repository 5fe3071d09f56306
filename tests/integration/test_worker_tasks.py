"""Workers for workflow tasks and workers for activities, side by side."""

from typing import get_args

import pytest
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.worker import Worker

from activities.services import Services
from tests.integration.api.conftest import a_name
from tests.kit.probes import registry
from tests.kit.running import Runner, until
from workflows.worker_options import Tasks, build_worker

BOTH = """
name: both
steps:
  - {id: inside, type: probe, execution: inline}
  - {id: outside, type: probe}
"""


def worker_of(client: Client, services: Services, queue: str, tasks: Tasks) -> Worker:
    return build_worker(client, registry().activities(services), task_queue=queue, tasks=tasks)


async def polled(client: Client, queue: str) -> set[str]:
    """Which kinds of tasks of a queue somebody polls for."""
    kinds = {
        "workflow": TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        "activity": TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
    }
    found: set[str] = set()
    for name, kind in kinds.items():
        answer = await client.workflow_service.describe_task_queue(
            DescribeTaskQueueRequest(
                namespace=client.namespace,
                task_queue=TaskQueue(name=queue),
                task_queue_type=kind,
            )
        )
        if answer.pollers:
            found.add(name)
    return found


@pytest.mark.parametrize("tasks", get_args(Tasks))
async def test_a_worker_takes_what_it_is_for(
    client: Client, services: Services, tasks: Tasks
) -> None:
    queue = a_name("tasks")
    wanted = {"workflow", "activity"} if tasks == "all" else {tasks}
    async with worker_of(client, services, queue, tasks):

        async def polls() -> bool:
            return await polled(client, queue) >= wanted

        await until(polls)
    assert await polled(client, queue) == wanted


async def test_both_together_run_everything(client: Client, services: Services) -> None:
    queue = a_name("tasks")
    runner = Runner(client, queue, registry())
    handle = await runner.start(runner.start_of(BOTH))
    async with worker_of(client, services, queue, "workflow"):

        async def inside_is_over() -> bool:
            description = await handle.describe()
            return bool(description.raw_description.pending_activities)

        # The inline step ran here; the other one waits for a worker of its kind.
        await until(inside_is_over)
        async with worker_of(client, services, queue, "activity"):
            ended = await runner.end(handle)
    assert ended.steps == {"inside": "completed", "outside": "completed"}
