"""The process of Sojourn's worker: the product's, with the no-op among its actions."""

import asyncio
from datetime import timedelta

from benchmarks.noop import registry
from process import main_of, stop_on_signals
from settings import Settings
from workflows.setup import connect
from workflows.worker_options import build_worker


async def serve(settings: Settings) -> None:
    """Run the worker until the process is told to stop."""
    stop = asyncio.Event()
    stop_on_signals(stop)
    client = await connect(settings.temporal_address, settings.temporal_namespace)
    database = settings.database()
    services = settings.services(database)
    async with build_worker(
        client,
        registry().activities(services),
        task_queue=settings.task_queue,
        max_cached_workflows=settings.max_cached_workflows,
        sandboxed=settings.workflow_sandbox,
        max_concurrent_activities=settings.max_concurrent_activities,
        graceful_shutdown=timedelta(0),
    ):
        await stop.wait()
    await services.aclose()
    await database.close()


if __name__ == "__main__":
    main_of("worker", serve)
