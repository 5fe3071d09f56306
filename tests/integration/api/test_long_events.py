"""The events of a run that continued as new: one story, with ids that never change."""

import asyncio
from contextlib import suppress
from uuid import uuid4

import pytest
from httpx2 import AsyncClient
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from api.reconciler import settle
from db import runs
from db.engine import Database
from schemas.actions import Catalogue
from schemas.errors import UnavailableError
from schemas.run import RunStart
from schemas.validation import load_definition
from tests.integration.api.conftest import a_name
from tests.integration.api.test_events import parse
from workflows.events import RunEvent, translate
from workflows.gateway import Execution, Gateway

# Four or five of them are enough to continue as new. Where writing the row takes longer than one
# (0.2 s here), it is over without a timer.
COUNT = 14
LONG = (
    "name: {name}\nsteps:\n"
    + "".join(f"  - {{{{id: s{n}, type: delay, for: 20s}}}}\n" for n in range(COUNT))
    + "  - {{id: go, type: wait, signal: go, timeout: 1h}}\n"
)


async def begun(gateway: Gateway, catalogue: Catalogue) -> tuple[RunStart, Execution]:
    """Start a run that has continued as new at least twice and waits for `go`."""
    made = RunStart(
        run_id=a_name(),
        workspace="default",
        definition=load_definition(LONG.format(name=a_name()), catalogue),
        version=1,
        timescale=100,
        history_limit=20,
    )
    await gateway.start(made)
    async with asyncio.timeout(180):
        while True:
            # Seldom: a query that meets a continue-as-new may have to wait for its deadline.
            with suppress(UnavailableError):
                state = await gateway.state(made.workflow_id, deadline=5)
                if "go" in state.steps and state.generation >= 2:
                    break
            await asyncio.sleep(0.5)
    found = await gateway.describe(made.workflow_id)
    assert found is not None
    assert found.run_id != found.first_run_id
    return made, found


async def story(gateway: Gateway, made: RunStart, run_id: str) -> list[RunEvent]:
    """All events of an ended run."""
    async with asyncio.timeout(180):
        return [event async for event in gateway.events(made.workflow_id, run_id)]


async def test_from_the_first_execution_to_the_last(
    worker: Worker, client: Client, gateway: Gateway, catalogue: Catalogue
) -> None:
    made, found = await begun(gateway, catalogue)
    await gateway.signal(made.workflow_id, "go", 1)
    await client.get_workflow_handle(made.workflow_id).result()
    events = await story(gateway, made, found.first_run_id)
    assert [event.type for event in events].count("run_started") == 1
    assert events[0].type == "run_started"
    assert events[-1].type == "run_completed"
    for kind in ("step_started", "step_completed"):
        told = [event.data["step"] for event in events if event.type == kind]
        assert told == [*(f"s{n}" for n in range(COUNT)), "go"]
    # Whoever knows a later execution only is told the same.
    assert await story(gateway, made, found.run_id) == events


async def test_when_the_first_execution_is_past_its_retention(
    worker: Worker, client: Client, gateway: Gateway, catalogue: Catalogue
) -> None:
    made, found = await begun(gateway, catalogue)
    await gateway.signal(made.workflow_id, "go", 1)
    await client.get_workflow_handle(made.workflow_id).result()
    events = await story(gateway, made, found.first_run_id)
    nowhere = str(uuid4())

    def handle(run_id: str) -> WorkflowHandle:
        # The server takes an id that it never had as it takes one that it has deleted.
        known = nowhere if run_id == found.first_run_id else run_id
        return client.get_workflow_handle(made.workflow_id, run_id=known)

    for start in (found.first_run_id, found.run_id):
        left = [event async for event in translate(handle, start, None)]
        assert (left[0].type, left[0].id) == ("run_started", "1.1.0")
        assert [event.id for event in left if event.id not in {e.id for e in events}] == ["1.1.0"]
        assert left[-1] == events[-1]
    seen = next(event for event in events if event.id.startswith("1."))
    later = [event async for event in translate(handle, found.first_run_id, seen.id)]
    assert [event.id for event in later] == [e.id for e in events[events.index(seen) + 1 :]]


@pytest.mark.parametrize("marked", [False, True])
async def test_a_row_without_start_mark(
    marked: bool,
    api: AsyncClient,
    worker: Worker,
    client: Client,
    database: Database,
    gateway: Gateway,
    catalogue: Catalogue,
) -> None:
    made, found = await begun(gateway, catalogue)
    async with database.session() as session:
        run = await runs.insert_queued(
            session,
            "default",
            definition=made.definition.name,
            version=1,
            input={},
            run_id=made.run_id,
        )
    if marked:
        assert await settle(database, gateway, run, found)
        async with database.session() as session:
            run = await runs.get(session, "default", made.run_id)
        assert run.temporal_run_id == found.first_run_id
    await gateway.signal(made.workflow_id, "go", 1)
    await client.get_workflow_handle(made.workflow_id).result()
    events = parse((await api.get(f"/api/v1/runs/{made.run_id}/events")).text)
    assert events[0]["event"] == "run_started"
    assert next(e["data"]["step"] for e in events if e["event"] == "step_started") == "s0"
    assert events[-1]["event"] == "run_completed"
