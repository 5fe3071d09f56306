"""Workers for workflow tasks and workers for activities, side by side."""

from typing import get_args

import pytest
from temporalio.client import Client
from temporalio.worker import Worker

from activities.services import Services
from tests.integration.api.conftest import a_name
from tests.kit.probes import registry
from tests.kit.running import Runner, until
from workflows.gateway import Gateway
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
    backlogs = await Gateway(client, task_queue=queue, deadline=15).backlogs()
    return {backlog.kind for backlog in backlogs if backlog.pollers}


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
