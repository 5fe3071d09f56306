"""Rows that no longer say what Temporal knows are healed."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from httpx2 import AsyncClient
from structlog.testing import capture_logs
from temporalio import activity
from temporalio.client import Client, WorkflowFailureError
from temporalio.worker import Worker

from activities.records import apply, changes
from activities.services import Services
from api.reconciler import BATCH, Reconciler, run_reconciler
from db import runs
from db.base import now
from db.engine import Database
from schemas.actions import Catalogue
from schemas.errors import NotFoundError, UnavailableError
from schemas.run import Projection, RunStart, RunStatus
from schemas.validation import load_definition
from tests.integration.api.conftest import WAITING, Publish, a_name, start, until_status
from tests.kit.losing import rewrite
from workflows.gateway import Execution, Gateway
from workflows.setup import connect
from workflows.worker_options import build_worker

AT_ONCE = timedelta(seconds=-1)


async def row(database: Database, run_id: str) -> runs.Run:
    """A run's row."""
    async with database.session() as session:
        return await runs.get(session, "default", run_id)


async def test_terminated_runs(
    api: AsyncClient,
    publish: Publish,
    worker: Worker,
    client: Client,
    database: Database,
    gateway: Gateway,
) -> None:
    name = await publish()
    made = [await start(api, name) for _ in range(3)]
    details = [await until_status(api, run_id, "waiting") for run_id in made]
    for detail in details[:2]:
        await client.get_workflow_handle(detail["workflow_id"]).terminate("test")
    assert (await row(database, made[0])).status is RunStatus.WAITING
    await Reconciler(database, gateway, stale_after=AT_ONCE).once()
    ended = [await row(database, run_id) for run_id in made]
    assert [run.status.value for run in ended] == ["terminated", "terminated", "waiting"]
    assert ended[0].error is not None
    assert ended[0].finished_at is not None
    await api.post(f"/api/v1/runs/{made[2]}/cancel")


async def test_a_lost_final_projection(
    publish: Publish,
    worker: Worker,
    client: Client,
    database: Database,
    gateway: Gateway,
    catalogue: Catalogue,
) -> None:
    # The run ends while its row does not exist, as after a restore of an older backup.
    name = a_name()
    made = RunStart(
        run_id=a_name(),
        workspace="default",
        definition=load_definition(WAITING.format(name=name), catalogue),
        version=1,
        input={"n": 1},
    )
    await gateway.start(made)
    await gateway.signal(made.workflow_id, "go", {"x": 1})
    await client.get_workflow_handle(made.workflow_id).result()
    async with database.session() as session:
        await runs.insert_queued(
            session, "default", definition=name, version=1, input={"n": 1}, run_id=made.run_id
        )
    await Reconciler(database, gateway, stale_after=AT_ONCE).once()
    found = await row(database, made.run_id)
    assert (found.status, found.output) == (RunStatus.COMPLETED, {"x": 1})


async def test_a_start_whose_mark_was_lost(
    api: AsyncClient, publish: Publish, worker: Worker, database: Database, gateway: Gateway
) -> None:
    run_id = await start(api, await publish())
    await until_status(api, run_id, "waiting")
    before = (await row(database, run_id)).temporal_run_id
    await rewrite(
        database,
        "UPDATE runs SET status = 'queued', temporal_run_id = NULL, seq = 0,"
        # The first of its pass, whatever other tests have left open.
        " checked_at = '2000-01-01' WHERE id = :id",
        id=run_id,
    )
    await Reconciler(database, gateway, stale_after=AT_ONCE).once()
    found = await row(database, run_id)
    assert (found.status, found.temporal_run_id) == (RunStatus.RUNNING, before)
    await api.post(f"/api/v1/runs/{run_id}/cancel")


async def test_a_start_that_never_happened(database: Database, gateway: Gateway) -> None:
    async with database.session() as session:
        run = await runs.insert_queued(session, "default", definition="gone", version=1, input={})
    await Reconciler(database, gateway, stale_after=AT_ONCE).once()
    assert (await row(database, run.id)).status is RunStatus.QUEUED
    await rewrite(
        database,
        "UPDATE runs SET created_at = created_at - interval '10 min',"
        " checked_at = checked_at - interval '10 min' WHERE id = :id",
        id=run.id,
    )
    await Reconciler(database, gateway, stale_after=AT_ONCE).once()
    with pytest.raises(NotFoundError):
        await row(database, run.id)


@pytest.mark.parametrize("ordered", [{"due_at": now()}, {"trigger_id": "of-an-older-process"}])
async def test_an_ordered_start_is_never_withdrawn(
    database: Database, gateway: Gateway, ordered: dict[str, Any]
) -> None:
    async with database.session() as session:
        run = await runs.insert_queued(
            session, "default", definition="gone", version=1, input={}, **ordered
        )
    await rewrite(
        database,
        "UPDATE runs SET created_at = created_at - interval '10 min',"
        " admitted_at = due_at, checked_at = checked_at - interval '10 min' WHERE id = :id",
        id=run.id,
    )
    await Reconciler(database, gateway, stale_after=AT_ONCE).once()
    found = await row(database, run.id)
    assert found.status is RunStatus.QUEUED
    assert found.due_at is not None
    await rewrite(database, "DELETE FROM runs WHERE id = :id", id=run.id)


async def shown_as_closed(client: Client, workflow_id: str) -> None:
    """Wait until visibility shows the end of a run."""
    query = f"WorkflowId = '{workflow_id}' AND CloseTime IS NOT NULL"
    async with asyncio.timeout(180):
        while True:
            if (await client.count_workflows(query)).count:
                return
            await asyncio.sleep(0.05)


async def sleepers(database: Database, count: int) -> None:
    """Insert rows that are open and staler than any other, yet fresh enough to be left alone."""
    async with database.session() as session:
        for _ in range(count):
            await runs.insert_queued(session, "sleepers", definition="sleep", version=1, input={})
    await rewrite(
        database,
        "UPDATE runs SET status = 'waiting', temporal_run_id = 'x',"
        " checked_at = checked_at - interval '40 s' WHERE workspace = 'sleepers'",
    )


async def test_one_ended_run_among_many_sleepers(
    api: AsyncClient,
    publish: Publish,
    worker: Worker,
    client: Client,
    database: Database,
    gateway: Gateway,
) -> None:
    run_id = await start(api, await publish())
    detail = await until_status(api, run_id, "waiting")
    await sleepers(database, 3 * BATCH)
    try:
        await client.get_workflow_handle(detail["workflow_id"]).terminate("test")
        await shown_as_closed(client, detail["workflow_id"])
        # A reconciler that has just started, as after a restart of the API.
        await Reconciler(database, gateway).once()
        assert (await row(database, run_id)).status is RunStatus.TERMINATED
    finally:
        await rewrite(database, "DELETE FROM runs WHERE workspace = 'sleepers'")


class Line:
    """A way to Temporal that can be cut."""

    def __init__(self, address: str) -> None:
        host, _, port = address.partition(":")
        self._to = (host, int(port))
        self._cut = False
        self._writers: list[asyncio.StreamWriter] = []

    async def open(self) -> str:
        """Listen; gives the address."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        """Break what is connected, and take nobody until `mend`."""
        self._cut = True
        for writer in self._writers:
            writer.close()
        self._writers.clear()

    def mend(self) -> None:
        """Take connections again."""
        self._cut = False

    def close(self) -> None:
        """Stop listening."""
        self.cut()
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._cut:
            writer.close()
            return
        back, forth = await asyncio.open_connection(*self._to)
        self._writers += [writer, forth]
        await asyncio.gather(_pump(reader, forth), _pump(back, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def test_a_run_that_ended_while_temporal_was_away(
    api: AsyncClient,
    publish: Publish,
    worker: Worker,
    client: Client,
    database: Database,
    temporal_address: str,
) -> None:
    run_id = await start(api, await publish())
    detail = await until_status(api, run_id, "waiting")
    line = Line(temporal_address)
    far = Reconciler(database, Gateway(await connect(await line.open(), lazy=True)))
    try:
        await far.once()
        before = (await row(database, run_id)).checked_at
        line.cut()
        await client.get_workflow_handle(detail["workflow_id"]).terminate("test")
        await shown_as_closed(client, detail["workflow_id"])
        for _ in range(2):
            with pytest.raises(UnavailableError):
                await far.once()
        found = await row(database, run_id)
        assert (found.status, found.checked_at) == (RunStatus.WAITING, before)
        line.mend()
        async with asyncio.timeout(180):
            while True:
                with suppress(UnavailableError):
                    await far.once()
                    break
                await asyncio.sleep(0.05)
        assert (await row(database, run_id)).status is RunStatus.TERMINATED
    finally:
        line.close()


class OddGateway(Gateway):
    """Has a defect that one run brings out."""

    odd = ""

    async def describe(self, workflow_id: str) -> Execution | None:
        """Describe every other run."""
        if workflow_id == self.odd:
            raise ZeroDivisionError
        return await super().describe(workflow_id)


async def test_a_row_that_cannot_be_settled_holds_up_no_other(
    api: AsyncClient, publish: Publish, worker: Worker, client: Client, database: Database
) -> None:
    name = await publish()
    made = [await start(api, name) for _ in range(2)]
    details = [await until_status(api, run_id, "waiting") for run_id in made]
    for detail in details:
        await client.get_workflow_handle(detail["workflow_id"]).terminate("test")
        await shown_as_closed(client, detail["workflow_id"])
    odd = OddGateway(client, deadline=15)
    odd.odd = details[0]["workflow_id"]
    healing = Reconciler(database, odd)
    await healing.once()
    assert (await row(database, made[0])).status is RunStatus.WAITING
    assert (await row(database, made[1])).status is RunStatus.TERMINATED
    odd.odd = ""
    await healing.once()
    assert (await row(database, made[0])).status is RunStatus.TERMINATED


def terminating(services: Services, client: Client) -> list[Callable[..., Any]]:
    """A worker's activities, with a `record` that terminates a run once it has written its end."""
    asked: set[str] = set()

    @activity.defn(name="record")
    async def record(projection: Any) -> dict[str, Any]:
        parsed = Projection.model_validate(projection)
        await apply(services, parsed)
        if parsed.status is RunStatus.COMPLETED and parsed.run_id not in asked:
            asked.add(parsed.run_id)
            await client.get_workflow_handle(str(activity.info().workflow_id)).terminate()
        return changes(parsed)

    return [record]


async def test_a_run_terminated_in_its_very_last_workflow_task_is_told(
    services: Services, client: Client, database: Database, catalogue: Catalogue
) -> None:
    queue = a_name("last")
    gateway = Gateway(client, task_queue=queue, deadline=15)
    made = RunStart(
        run_id=a_name(),
        workspace="default",
        definition=load_definition(WAITING.format(name=a_name()), catalogue),
        version=1,
        input={"n": 1},
    )
    async with database.session() as session:
        await runs.insert_queued(
            session,
            "default",
            definition=made.definition.name,
            version=1,
            input={"n": 1},
            run_id=made.run_id,
        )
    async with build_worker(client, terminating(services, client), task_queue=queue):
        await gateway.start(made)
        await gateway.signal(made.workflow_id, "go", 1)
        with suppress(WorkflowFailureError):
            await client.get_workflow_handle(made.workflow_id).result()
    found = await gateway.describe(made.workflow_id)
    assert found is not None
    # The run's end was written, and then Temporal was told to end it otherwise.
    assert found.status is RunStatus.TERMINATED
    assert (await row(database, made.run_id)).status is RunStatus.COMPLETED
    await shown_as_closed(client, made.workflow_id)
    healing = Reconciler(database, gateway)
    with capture_logs() as logs:
        for _ in range(2):
            await healing.once()
    told = [line for line in logs if line.get("workflow_id") == made.workflow_id]
    assert [(line["event"], line["row"], line["temporal"]) for line in told] == [
        ("run_status_differs", "completed", "terminated")
    ]


async def test_the_loop_goes_on_after_a_fault(
    database: Database, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = 0
    enough = asyncio.Event()

    async def faulty(*_: object) -> int:
        nonlocal passes
        passes += 1
        if passes == 3:
            enough.set()
        raise ZeroDivisionError

    monkeypatch.setattr(Reconciler, "once", faulty)
    task = asyncio.create_task(run_reconciler(database, gateway, every=0.01))
    async with asyncio.timeout(180):
        await enough.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
