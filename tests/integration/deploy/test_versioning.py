"""Builds of workers side by side: runs go to the current one, forward and back."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from uuid import uuid4

import pytest
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from activities.registry import load
from activities.services import Services
from db.engine import Database
from schemas.actions import Catalogue
from schemas.errors import ConflictError, NotFoundError
from schemas.run import REVISION
from tests.kit.running import Runner, until
from workflows.deployment import Deployment, builds, make_current
from workflows.worker_options import build_worker

WAITING = """
name: versioned
steps:
  - {id: before, type: set, vars: {x: 1}}
  - {id: go, type: wait, signal: go, timeout: 1h}
  - {id: after, type: condition, if: "vars.x == 1"}
"""
Begin = Callable[[str], Awaitable[Worker]]


@pytest.fixture
def runner(client: Client, catalogue: Catalogue) -> Runner:
    """Starts runs on a task queue that only this test's builds poll."""
    return Runner(client, f"versioned-{uuid4().hex[:8]}", catalogue)


@pytest.fixture
async def begin(runner: Runner, database: Database) -> AsyncIterator[Begin]:
    """Call it with a build to run a worker of it; the deployment has the task queue's name."""
    async with AsyncExitStack() as stack:

        async def begun(build: str) -> Worker:
            worker = build_worker(
                runner.client,
                load().activities(Services(database=database)),
                task_queue=runner.task_queue,
                deployment=Deployment(runner.task_queue, build),
            )
            await stack.enter_async_context(worker)
            return worker

        yield begun


async def made_current(runner: Runner, build: str) -> None:
    """Make a build current once Temporal knows that its worker polls."""

    async def done() -> bool:
        try:
            await make_current(runner.client, runner.task_queue, build)
        except (NotFoundError, ConflictError):
            return False
        return True

    await until(done)


async def reaches(runner: Runner, build: str) -> None:
    """Start runs until one goes to a build: it takes a moment until all of Temporal knows."""

    async def done() -> bool:
        probe = await runner.start(runner.start_of(WAITING))
        await until(lambda: builds_of(probe))
        await probe.terminate()
        return await builds_of(probe) == [build]

    await until(done)


async def builds_of(handle: WorkflowHandle) -> list[str]:
    """The builds that finished the run's workflow tasks, in order."""
    return [
        event.workflow_task_completed_event_attributes.deployment_version.build_id
        async for event in handle.fetch_history_events()
        if event.HasField("workflow_task_completed_event_attributes")
    ]


async def test_runs_go_forward_and_back_with_the_current_build(
    runner: Runner, begin: Begin
) -> None:
    first = await begin("one")
    handles = [await runner.start(runner.start_of(WAITING)) for _ in range(6)]

    async def known() -> bool:
        try:
            return bool(await builds(runner.client, runner.task_queue))
        except NotFoundError:
            return False

    await until(known)
    # A build that was never current gets nothing, however long it polls.
    assert [build.current for build in await builds(runner.client, runner.task_queue)] == [False]
    assert await builds_of(handles[0]) == []
    await made_current(runner, "one")

    async def waits(handle: WorkflowHandle) -> bool:
        return bool(await builds_of(handle))

    for handle in handles:
        await until(lambda handle=handle: waits(handle))
    second = await begin("two")
    await made_current(runner, "two")
    await reaches(runner, "two")
    for handle in handles[:3]:
        await handle.signal("go")
    ended = [await runner.end(handle) for handle in handles[:3]]
    await made_current(runner, "one")
    await reaches(runner, "one")
    for handle in handles[3:]:
        await handle.signal("go")
    ended += [await runner.end(handle) for handle in handles[3:]]
    assert all(run.steps["after"] == "completed" for run in ended)
    assert {tuple(dict.fromkeys(await builds_of(handle))) for handle in handles[:3]} == {
        ("one", "two")
    }
    assert {tuple(dict.fromkeys(await builds_of(handle))) for handle in handles[3:]} == {("one",)}
    found = {build.build: build.current for build in await builds(runner.client, runner.task_queue)}
    assert found == {"one": True, "two": False}
    assert first.is_running
    assert second.is_running


async def test_a_build_that_nobody_has_seen(runner: Runner) -> None:
    with pytest.raises(NotFoundError, match="no worker of"):
        await builds(runner.client, "nobody")
    with pytest.raises(NotFoundError, match="no worker of"):
        await make_current(runner.client, "nobody", "one")


async def test_a_run_of_a_newer_revision_waits_for_its_worker(
    runner: Runner, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    await begin("one")
    await made_current(runner, "one")
    start = runner.start_of(WAITING)
    start.revision = REVISION + 1
    handle = await runner.start(start)

    async def refused() -> bool:
        failures = [
            event.workflow_task_failed_event_attributes.failure.message
            async for event in handle.fetch_history_events()
            if event.HasField("workflow_task_failed_event_attributes")
        ]
        return any(f"needs revision {REVISION + 1}" in text for text in failures)

    await until(refused)
    # The worker learns the revision, as the next one would.
    monkeypatch.setattr("schemas.run.REVISION", REVISION + 1)
    async with asyncio.timeout(180):
        await handle.signal("go")
        assert (await runner.end(handle)).steps["after"] == "completed"
