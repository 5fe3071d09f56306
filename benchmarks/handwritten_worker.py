"""The process of the hand-written worker, with the options of Sojourn's worker."""

import asyncio

from temporalio.client import Client
from temporalio.worker import PollerBehaviorAutoscaling, UnsandboxedWorkflowRunner, Worker

from benchmarks.handwritten import WORKFLOWS
from benchmarks.handwritten_activities import Http, activities
from process import main_of, stop_on_signals
from settings import Settings
from workflows.setup import connect
from workflows.worker_options import sandbox


def build(client: Client, http: Http, settings: Settings) -> Worker:
    """Build the worker; a test compares its options with those of `build_worker`."""
    return Worker(
        client,
        task_queue=settings.task_queue,
        workflows=WORKFLOWS,
        activities=activities(http),
        workflow_runner=sandbox() if settings.workflow_sandbox else UnsandboxedWorkflowRunner(),
        max_cached_workflows=settings.max_cached_workflows,
        max_concurrent_activities=settings.max_concurrent_activities,
        max_concurrent_workflow_tasks=20,
        workflow_task_poller_behavior=PollerBehaviorAutoscaling(minimum=2, initial=5, maximum=20),
        activity_task_poller_behavior=PollerBehaviorAutoscaling(minimum=2, initial=5, maximum=20),
        nonsticky_to_sticky_poll_ratio=0.5,
    )


async def serve(settings: Settings) -> None:
    """Run the worker until the process is told to stop."""
    stop = asyncio.Event()
    stop_on_signals(stop)
    client = await connect(settings.temporal_address, settings.temporal_namespace)
    http = Http()
    async with build(client, http, settings):
        await stop.wait()
    await http.client.aclose()


if __name__ == "__main__":
    main_of("worker", serve)
