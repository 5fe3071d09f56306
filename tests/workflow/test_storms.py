"""Many runs at once: a cold worker replays all of them, and a small cache loses nothing.

The short form takes 20 runs, SOJOURN_CHAOS=1 takes 500.
"""

import asyncio
import statistics
import time
from collections import Counter
from datetime import timedelta

import pytest
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from activities.services import Services
from tests.faults.evidence import figures
from tests.kit.probes import registry
from tests.kit.running import Runner, until
from workflows.worker_options import MIN_CACHED_WORKFLOWS, build_worker

# About 200 events.
STEPS = ", ".join(f"{{id: p{n}, type: probe}}" for n in range(32))
LONG_RUN = f"{{name: storm, steps: [{STEPS}, {{id: go, type: wait, signal: go, timeout: 1h}}]}}"
INLINE_RUN = (
    "{name: crowd, steps: ["
    + ", ".join(f"{{id: i{n}, type: probe, execution: inline}}" for n in range(3))
    + "]}"
)


def worker_of(client: Client, services: Services, queue: str, activities: int = 100) -> Worker:
    """A worker whose cache is empty; without the sandbox, as worker processes are by default."""
    return build_worker(
        client,
        registry().activities(services),
        task_queue=queue,
        max_concurrent_activities=activities,
        graceful_shutdown=timedelta(seconds=1),
        sandboxed=False,
    )


async def lengths(handles: list[WorkflowHandle]) -> list[int]:
    """Give how many events the runs have."""
    found = await asyncio.gather(*(handle.describe() for handle in handles))
    return [one.history_length for one in found]


async def failed_tasks(handles: list[WorkflowHandle]) -> Counter[str]:
    """Count the workflow tasks that failed or ran out of time; TMPRL1101 is one of them."""
    found: Counter[str] = Counter()
    for handle in handles:
        async for event in handle.fetch_history_events():
            kind = event.WhichOneof("attributes") or ""
            if kind.startswith(("workflow_task_failed", "workflow_task_timed_out")):
                failure = event.workflow_task_failed_event_attributes.failure.message
                found["deadlock" if "TMPRL1101" in failure else kind] += 1
    return found


async def test_a_cold_worker_takes_all_runs_on(
    client: Client, services: Services, long: bool
) -> None:
    count, queue = (500 if long else 20), "storm"
    runner = Runner(client, queue, registry())
    async with worker_of(client, services, queue):
        handles = [await runner.start(runner.start_of(LONG_RUN)) for _ in range(count)]

        async def at_rest() -> bool:
            return min(await lengths(handles)) > 150

        await until(at_rest, deadline=1200 if long else 120)
        await asyncio.sleep(1)
    events = await lengths(handles)
    before = await failed_tasks(handles)
    await asyncio.gather(*(handle.signal("go", 1) for handle in handles))
    began = time.monotonic()
    async with worker_of(client, services, queue):
        await asyncio.gather(*(handle.result() for handle in handles))
        seconds = time.monotonic() - began
    after = await failed_tasks(handles)
    assert not (after - before)["deadlock"], after - before
    assert seconds < 60
    figures(
        "T22 replay storm",
        runs=count,
        events_each=round(statistics.mean(events)),
        seconds=round(seconds, 1),
        deadlocks=after["deadlock"],
    )


async def test_the_smallest_cache_loses_no_answer(
    client: Client, services: Services, long: bool
) -> None:
    if not long:
        pytest.skip("the long form keeps a worker busy for half a minute")
    queue = "crowd"
    runner = Runner(client, queue, registry())
    handles = [
        await runner.start(runner.start_of(INLINE_RUN)) for _ in range(MIN_CACHED_WORKFLOWS + 50)
    ]
    worker = build_worker(
        client,
        registry().activities(services),
        task_queue=queue,
        max_cached_workflows=MIN_CACHED_WORKFLOWS,
        sandboxed=False,
    )
    async with worker:
        await asyncio.gather(*(runner.end(handle) for handle in handles))
    assert not await failed_tasks(handles)
