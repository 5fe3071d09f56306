"""Rows that are gone although Temporal has the run are made anew; those behind catch up."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from httpx2 import AsyncClient
from sqlmodel import col, select
from temporalio.client import Client, WorkflowFailureError
from temporalio.worker import Worker

from activities.registry import load
from activities.services import Services
from api.reconciler import Reconciler
from api.recreating import WINDOW
from db import audit, recreating, runs
from db.base import now
from db.dead_letter_table import DeadLetter
from db.engine import Database
from db.locks import try_lock
from schemas.actions import Catalogue
from schemas.keeping import Keep
from schemas.retention import BY_NAME
from schemas.run import RunStart, RunStatus
from schemas.validation import load_definition
from tests.integration.api.conftest import Publish, a_name, publish, start, until_status
from tests.kit.losing import back, essence, looker, lose, rewrite, row_of, same, steps_of
from workflows.gateway import Gateway
from workflows.worker_options import build_worker

__all__ = ["publish"]
KEYED = """
name: {name}
input: {{type: object, properties: {{n: {{type: integer}}, who: {{type: string}}}}}}
limits: {{concurrency: {{runs: 2, key: input.who}}}}
output: "{{{{ steps.go.output }}}}"
steps:
  - {{id: more, type: set, vars: {{x: "{{{{ input.n + 1 }}}}"}}}}
  - {{id: go, type: wait, signal: go, timeout: 1h}}
  - {{id: bad, type: fail, if: steps.go.output.n == 13, code: UNLUCKY, message: thirteen}}
"""
CHILD = """
name: {child}
input: {{type: object}}
steps:
  - {{id: go, type: wait, signal: go, timeout: 1h}}
"""
PARENT = """
name: {name}
steps:
  - {{id: left, type: workflow, definition: {child}, input: {{}}, mode: detach}}
  - {{id: below, type: workflow, definition: {child}, input: {{}}}}
"""
MANY = """
name: {name}
steps:
  - id: each
    type: for_each
    items: "{{{{ [1, 2, 3] }}}}"
    batch: 2
    do:
      - {{id: go, type: wait, signal: go, timeout: 1h}}
"""
LONG = """
name: {name}
steps:
  - id: again
    type: repeat
    until: index > 25
    max: 40
    do:
      - {{id: seen, type: set, vars: {{x: "{{{{ index }}}}"}}}}
      - {{id: nap, type: delay, for: 10ms}}
  - {{id: go, type: wait, signal: go, timeout: 1h}}
"""


async def test_an_open_run(
    api: AsyncClient, publish: Publish, worker: Worker, database: Database, gateway: Gateway
) -> None:
    run_id = await start(api, await publish(KEYED), {"n": 4, "who": "ada"})
    await until_status(api, run_id, "waiting")
    steps = await steps_of(database, run_id)
    [before] = await lose(database, run_id)
    assert (await api.get(f"/api/v1/runs/{run_id}")).status_code == 404
    [after] = await back(database, gateway, run_id)
    same(before, after)
    # It holds its slot, under its key.
    assert after.flow_key == '"ada"'
    assert after.admitted_at is not None
    assert essence(await steps_of(database, run_id)) == essence(steps)
    # What the run writes from now on counts.
    await gateway.signal(after.workflow_id, "go", {"n": 1})
    detail = await until_status(api, run_id, "completed")
    assert detail["output"] == {"n": 1}
    assert [step.status for step in await steps_of(database, run_id)] == ["completed"] * 2 + [
        "skipped"
    ]


async def test_runs_that_have_ended(
    api: AsyncClient,
    publish: Publish,
    worker: Worker,
    client: Client,
    database: Database,
    gateway: Gateway,
) -> None:
    name = await publish(KEYED)
    made = [await start(api, name, {"n": 4, "who": str(n)}) for n in range(4)]
    ids = [(await until_status(api, run_id, "waiting"))["workflow_id"] for run_id in made]
    await gateway.signal(ids[0], "go", {"n": 1})
    await gateway.signal(ids[1], "go", {"n": 13})
    await gateway.cancel(ids[2])
    await client.get_workflow_handle(ids[3]).terminate("test")
    for workflow_id in ids:
        await ended(client, workflow_id)
    await Reconciler(database, gateway, stale_after=timedelta(seconds=-1)).once()
    wanted = ["completed", "failed", "cancelled", "terminated"]
    for run_id, status in zip(made, wanted, strict=True):
        await until_status(api, run_id, status)
    steps = [await steps_of(database, run_id) for run_id in made]
    before = await lose(database, *made)
    after = await back(database, gateway, *made)
    for one, other in zip(before, after, strict=True):
        same(one, other)
        assert one.finished_at is not None
        assert other.finished_at is not None
        assert abs(one.finished_at - other.finished_at) < timedelta(seconds=10)
    for number in range(3):
        assert essence(await steps_of(database, made[number])) == essence(steps[number])
    # What was open when it was terminated was cancelled with it.
    assert [step.status for step in await steps_of(database, made[3])] == ["completed", "cancelled"]
    async with database.session() as session:
        letters = select(DeadLetter.subject_id).where(col(DeadLetter.subject_id).in_(made))
        assert (await session.exec(letters)).all() == [made[1]]


async def ended(client: Client, workflow_id: str) -> None:
    """Wait for the end of a run, whichever it is."""
    try:
        await client.get_workflow_handle(workflow_id).result()
    except WorkflowFailureError:
        return


async def children(api: AsyncClient, run_id: str, count: int) -> list[str]:
    """Wait for the runs below a run that wait themselves."""
    async with asyncio.timeout(120):
        while True:
            answer = await api.get("/api/v1/runs", params={"parent": run_id})
            found = [run["id"] for run in answer.json()["items"] if run["status"] == "waiting"]
            if len(found) == count:
                return sorted(found)
            await asyncio.sleep(0.05)


async def publish_as(api: AsyncClient, text: str, **names: str) -> None:
    """Publish a definition under names of one's own."""
    answer = await api.post(
        "/api/v1/definitions?publish=true",
        content=text.format(**names),
        headers={"content-type": "application/yaml"},
    )
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize(("text", "count"), [(PARENT, 2), (MANY, 2)])
async def test_runs_of_runs(
    text: str,
    count: int,
    api: AsyncClient,
    worker: Worker,
    database: Database,
    gateway: Gateway,
) -> None:
    names = {"name": a_name("above"), "child": a_name("below")}
    await publish_as(api, CHILD, **names)
    await publish_as(api, text, **names)
    run_id = await start(api, names["name"], {})
    below = await children(api, run_id, count)
    before = await lose(database, run_id, *below)
    after = await back(database, gateway, run_id, *below)
    for one, other in zip(before, after, strict=True):
        # Nobody tells the row of a child Temporal's id.
        same(one, other, *([] if one.temporal_run_id else ["temporal_run_id"]))
    assert {run.detached for run in after} == ({True, False} if text is PARENT else {False})
    for run in after[1:]:
        await gateway.cancel(run.workflow_id)
    await api.post(f"/api/v1/runs/{run_id}/cancel")


async def test_a_run_that_has_continued_as_new(
    api: AsyncClient, worker: Worker, database: Database, gateway: Gateway, catalogue: Catalogue
) -> None:
    run_id, name = a_name(), a_name()
    made = RunStart(
        run_id=run_id,
        workspace="default",
        definition=load_definition(LONG.format(name=name), catalogue),
        version=7,
        input={"n": 1},
        history_limit=20,
    )
    async with database.session() as session:
        await runs.insert_queued(
            session, "default", definition=name, version=7, input={"n": 1}, run_id=run_id
        )
    first = await gateway.start(made, priority=2)
    async with database.session() as session:
        await runs.mark_started(session, "default", run_id, first)
    async with asyncio.timeout(120):
        while True:
            found = await gateway.describe(made.workflow_id)
            assert found is not None
            waits = "go" in [step.path for step in await steps_of(database, run_id)]
            if waits and found.run_id != first:
                break
            await asyncio.sleep(0.1)
    [before] = await lose(database, run_id)
    [after] = await back(database, gateway, run_id)
    # It was never ordered, and its id tells no time.
    same(before, after, "priority")
    assert (after.priority, after.temporal_run_id, after.version) == (2, first, 7)
    await api.post(f"/api/v1/runs/{run_id}/cancel")


async def test_a_run_of_a_trigger_whose_definition_is_gone(
    api: AsyncClient, publish: Publish, worker: Worker, database: Database, gateway: Gateway
) -> None:
    name = await publish()
    run_id = await start(api, name)
    await until_status(api, run_id, "waiting")
    async with database.session() as session:
        audit.add(session, "default", actor="trigger:t1", action="run.start", subject=run_id)
    await rewrite(database, "UPDATE runs SET trigger_id = 't1' WHERE id = :id", id=run_id)
    [before] = await lose(database, run_id)
    await rewrite(database, "DELETE FROM definitions WHERE name = :name", name=name)
    [after] = await back(database, gateway, run_id)
    same(before, after)
    await api.post(f"/api/v1/runs/{run_id}/cancel")


async def test_what_retention_has_deleted_stays_deleted(
    api: AsyncClient,
    publish: Publish,
    worker: Worker,
    client: Client,
    database: Database,
    gateway: Gateway,
) -> None:
    # Half of the shortest time for which retention keeps a run that has ended.
    assert timedelta(days=BY_NAME["runs"].least) >= 2 * WINDOW
    made = [await start(api, await publish()) for _ in range(2)]
    ids = [(await until_status(api, run_id, "waiting"))["workflow_id"] for run_id in made]
    for workflow_id in ids:
        await gateway.signal(workflow_id, "go", 1)
        await client.get_workflow_handle(workflow_id).result()
    await until_status(api, made[0], "completed")
    row = await row_of(database, made[0])
    assert row is not None
    assert row.finished_at is not None
    await lose(database, *made)
    # As if the window were past.
    brief = (now() - row.finished_at) / 4
    for _ in range(3):
        await looker(database, gateway, window=brief).once()
    assert await row_of(database, made[0]) is None
    # A run that Temporal has forgotten, too, is gone for good.
    await client.workflow_service.delete_workflow_execution(_deletion(client, ids[1]))
    async with asyncio.timeout(120):
        while True:
            if await gateway.describe(ids[1]) is None:
                break
            await asyncio.sleep(0.1)
    [after] = await back(database, gateway, made[0])
    assert after.status is RunStatus.COMPLETED
    assert await row_of(database, made[1]) is None


def _deletion(client: Client, workflow_id: str) -> Any:
    from temporalio.api.common.v1 import WorkflowExecution
    from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest

    return DeleteWorkflowExecutionRequest(
        namespace=client.namespace, workflow_execution=WorkflowExecution(workflow_id=workflow_id)
    )


async def test_a_row_that_was_rolled_back_while_its_run_goes_on(
    api: AsyncClient, publish: Publish, worker: Worker, database: Database, gateway: Gateway
) -> None:
    run_id = await start(api, await publish())
    await until_status(api, run_id, "waiting")
    before = await row_of(database, run_id)
    steps = await steps_of(database, run_id)
    looking = looker(database, gateway)
    # The same fault may come again.
    for _ in range(2):
        await rewrite(
            database,
            "UPDATE runs SET status = 'running', seq = 0, waiting_for = NULL, until = NULL,"
            " updated_at = created_at - interval '1 min' WHERE id = :id",
            id=run_id,
        )
        await rewrite(database, "DELETE FROM run_steps WHERE run_id = :id", id=run_id)
        async with asyncio.timeout(60):
            while not await steps_of(database, run_id):
                await looking.once()
                await asyncio.sleep(0.1)
        after = await row_of(database, run_id)
        assert before is not None
        assert after is not None
        assert (after.status, after.seq) == (before.status, before.seq)
        assert (after.waiting_for, after.until) == (before.waiting_for, before.until)
        assert essence(await steps_of(database, run_id)) == essence(steps)
    await api.post(f"/api/v1/runs/{run_id}/cancel")


@pytest.fixture
def alone(client: Client) -> Gateway:
    """A way to Temporal with a task queue that nobody polls yet."""
    return Gateway(client, task_queue=a_name("alone"), deadline=15)


async def test_without_a_worker_the_steps_come_later(
    alone: Gateway,
    client: Client,
    services: Services,
    database: Database,
    catalogue: Catalogue,
) -> None:
    made = RunStart(
        run_id=a_name(),
        workspace="default",
        definition=load_definition(KEYED.format(name=a_name()), catalogue),
        version=1,
        input={"n": 1, "who": "ada"},
    )
    await alone.start(made)
    looking = looker(database, alone)
    async with asyncio.timeout(120):
        while await row_of(database, made.run_id) is None:
            await looking.once()
            await asyncio.sleep(0.1)
    found = await row_of(database, made.run_id)
    assert found is not None
    assert (found.status, found.seq) == (RunStatus.RUNNING, recreating.INCOMPLETE)
    async with build_worker(client, load().activities(services), task_queue=alone.task_queue):
        async with asyncio.timeout(120):
            while len(await steps_of(database, made.run_id)) < 2:
                await looking.once()
                await asyncio.sleep(0.1)
        await alone.cancel(made.workflow_id)
        await ended(client, made.workflow_id)


async def test_of_several_processes_one_looks(
    api: AsyncClient, publish: Publish, worker: Worker, database: Database, gateway: Gateway
) -> None:
    run_id = await start(api, await publish())
    await until_status(api, run_id, "waiting")
    await lose(database, run_id)
    async with database.session() as other:
        assert await try_lock(other, "recreating")
        assert await looker(database, gateway).once() == 0
        assert await row_of(database, run_id) is None
    await asyncio.gather(*(looker(database, gateway, keep=Keep.NONE).once() for _ in range(3)))
    [after] = await back(database, gateway, run_id)
    assert after.status is RunStatus.WAITING
    await api.post(f"/api/v1/runs/{run_id}/cancel")
