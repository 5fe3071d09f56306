"""Schedule triggers through the API and in Temporal: what is due there, and what becomes of it."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from httpx2 import ASGITransport, AsyncClient
from sqlmodel import col
from temporalio.client import (
    Client,
    ScheduleActionExecutionStartWorkflow,
    ScheduleOverlapPolicy,
)

from api.app import create_app
from api.config import ApiConfig
from api.schedules import Scheduler
from db.engine import Database
from db.event_tables import StoredEvent
from db.run_table import Run
from schemas.actions import Catalogue
from schemas.due_times import is_due
from schemas.errors import UnavailableError
from schemas.schedules import GATE, ScheduleTrigger
from tests.kit.own_histories import keep_own
from tests.kit.schedules import TRANSITIONS, Transition, matching
from workflows.gateway import Gateway
from workflows.scheduling import retention_id, schedule_id
from workflows.setup import connect

API_KEY = "schedule-key-0123456789"
DEFINITION = """
name: nightly
input: {type: object, properties: {at: {type: string}}}
steps: [{id: go, type: wait, signal: go, timeout: 1h}]
"""
TRIGGERS = "/api/v1/definitions/nightly/triggers"


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(180):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.05)


@dataclass
class Office:
    """The API of a workspace of its own, and what keeps its schedules."""

    api: AsyncClient
    workspace: str
    client: Client
    scheduler: Scheduler

    async def add(self, **given: Any) -> dict[str, Any]:
        body = {"kind": "schedule", "every": "15m", "input": {"at": "{{ schedule.time }}"}, **given}
        answer = await self.api.post(TRIGGERS, json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def get(self, path: str) -> dict[str, Any]:
        answer = await self.api.get(f"{TRIGGERS}/{path}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def do(self, path: str, status: int, body: Any = None) -> Any:
        answer = await self.api.post(f"{TRIGGERS}/{path}", json=body)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def id_of(self, trigger: dict[str, Any]) -> str:
        return schedule_id(self.workspace, "nightly", trigger["id"])

    async def identities(self) -> set[str]:
        found = await self.client.list_schedules()
        return {one.id async for one in found if one.id.startswith(f"sojourn/{self.workspace}/")}

    async def close(self) -> None:
        for identity in await self.identities():
            await self.client.get_schedule_handle(identity).delete()


@pytest.fixture
async def office(
    database: Database, gateway: Gateway, catalogue: Catalogue, client: Client
) -> AsyncIterator[Office]:
    workspace = f"w-{uuid4().hex[:8]}"
    config = ApiConfig(api_key=API_KEY, workspace=workspace)
    app = create_app(database=database, gateway=gateway, catalogue=catalogue, config=config)
    scheduler = Scheduler(database, gateway, workspace, compare_every=timedelta(0))
    async with AsyncClient(
        transport=ASGITransport(app=app),
        base_url="http://testserver",
        headers={"X-API-Key": API_KEY},
    ) as api:
        answer = await api.post(
            "/api/v1/definitions?publish=true",
            content=DEFINITION,
            headers={"content-type": "application/yaml"},
        )
        assert answer.status_code == 201, answer.text
        found = Office(api, workspace, client, scheduler)
        yield found
        await found.close()


@pytest.mark.parametrize("dst", ["skip", "once"])
async def test_temporal_is_due_when_the_table_says(
    gateway: Gateway, client: Client, dst: str
) -> None:
    workspace = f"w-{uuid4().hex[:8]}"

    async def check(number: int, case: Transition) -> None:
        config = ScheduleTrigger.model_validate(
            {"cron": case.cron, "timezone": case.zone, "dst": dst}
        )
        await gateway.schedules.put_trigger(
            workspace, "nightly", str(number), config, case.begin, resting=True
        )
        identity = schedule_id(workspace, "nightly", str(number))
        found = await matching(client, identity, case.begin, case.end)
        await gateway.schedules.delete(identity)
        first: dict[str, datetime] = {}
        # What the gate does: it drops what is not due, and the second showing of a time.
        for due in filter(lambda due: is_due(config, due), found):
            first.setdefault(config.slot(due), due)
        assert list(first.values()) == (case.skip if dst == "skip" else case.once), str(case)

    for number, case in enumerate(TRANSITIONS):
        # Server 1.32 stops at a jump of a whole day; the last one was in 2011.
        if case.zone != "Pacific/Apia":
            await check(number, case)


async def test_a_trigger_is_written_changed_found_again_and_forgotten(
    office: Office, gateway: Gateway
) -> None:
    trigger = await office.add(
        cron="30 9 * * MON-FRI", every=None, timezone="Europe/Berlin", catchup="1h", jitter="10s"
    )
    due = datetime.fromisoformat(trigger["next_due_at"])
    assert due > datetime.now(UTC)
    preview = await office.get(f"{trigger['id']}/preview?count=3")
    assert datetime.fromisoformat(preview["items"][0]["time"]) == due
    assert [one["local_time"][11:16] for one in preview["items"]] == ["09:30"] * 3
    assert (preview["written"], preview["resting"]) == (False, False)

    assert await office.scheduler.once() == 1
    assert (await office.get(f"{trigger['id']}/preview"))["written"] is True
    handle = office.client.get_schedule_handle(office.id_of(trigger))
    shown = (await handle.describe()).schedule
    assert shown.policy.overlap is ScheduleOverlapPolicy.ALLOW_ALL
    assert shown.policy.catchup_window == timedelta(hours=1)
    assert (shown.spec.time_zone_name, shown.spec.jitter) == (
        "Europe/Berlin",
        timedelta(seconds=10),
    )

    for word, paused in (("pause", True), ("resume", False)):
        await office.do(f"{trigger['id']}/{word}", 204)
        assert await office.scheduler.once() == 1
        assert (await handle.describe()).schedule.state.paused is paused
        shown = await office.get(trigger["id"])
        assert (shown["paused"], shown["next_due_at"] is None) == (paused, paused)

    async def there() -> bool:
        return await office.identities() == {office.id_of(trigger), retention_id(office.workspace)}

    await until(there)
    # Temporal loses it, and gains one that nobody asked for.
    await handle.delete()
    stranger = schedule_id(office.workspace, "nightly", "stranger")
    await gateway.schedules.put_trigger(
        office.workspace, "nightly", "stranger", ScheduleTrigger(cron="@daily"), due, resting=True
    )

    async def restored() -> bool:
        await office.scheduler.once()
        return await there()

    await until(restored)
    assert (await handle.describe()).schedule.state.paused is False
    assert stranger not in await office.identities()

    assert (await office.api.delete(f"{TRIGGERS}/{trigger['id']}")).status_code == 204

    async def forgotten() -> bool:
        await office.scheduler.once()
        return await office.identities() == {retention_id(office.workspace)}

    await until(forgotten)


async def test_two_processes_take_turns(
    office: Office, gateway: Gateway, database_url: str
) -> None:
    for _ in range(5):
        await office.add()
    other = Database(database_url)
    try:
        second = Scheduler(other, gateway, office.workspace)
        assert sum(await asyncio.gather(office.scheduler.once(), second.once())) == 5
    finally:
        await other.close()


async def test_gates_order_runs_at_their_times(office: Office, worker: object) -> None:
    trigger = await office.add(every="1s", overlap="allow", input={"at": "{{ schedule.time }}"})
    await office.scheduler.once()

    async def runs() -> list[dict[str, Any]]:
        answer = await office.api.get("/api/v1/runs?definition=nightly")
        return answer.json()["items"]

    async def three() -> bool:
        return len(await runs()) >= 3

    await until(three)
    await office.do(f"{trigger['id']}/pause", 204)
    times = [
        (await office.api.get(f"/api/v1/runs/{run['id']}")).json()["input"]["at"]
        for run in await runs()
    ]
    assert len(set(times)) == len(times)
    assert (await office.get(trigger["id"]))["last_fired_at"] is not None
    async for gate in office.client.list_workflows(
        f"TemporalScheduledById = '{office.id_of(trigger)}' AND ExecutionStatus = 'Completed'"
    ):
        assert (await office.client.get_workflow_handle(gate.id).result())["outcome"] == "ordered"
        await keep_own(office.client, gate.id, "gate")
        break
    else:
        pytest.fail("Temporal shows no gate")


async def test_the_schedule_of_retention_prunes(
    office: Office, worker: object, database: Database
) -> None:
    answer = await office.api.get("/api/v1/retention")
    assert {one["subject"]: one["days"] for one in answer.json()["items"]}["runs"] == 90
    answer = await office.api.put("/api/v1/retention", json={"policies": {"events": 1}})
    assert {one["subject"]: one["days"] for one in answer.json()["items"]}["events"] == 1
    answer = await office.api.put("/api/v1/retention", json={"policies": {"moon": 1}})
    assert (answer.status_code, answer.json()["problems"][0]["path"]) == (422, "policies.moon")
    async with database.session() as session:
        event = StoredEvent(
            workspace=office.workspace,
            id="old",
            source="s",
            type="t",
            key="k",
            time=datetime.now(UTC),
            received_at=datetime.now(UTC) - timedelta(days=2),
        )
        session.add(event)
    shown = (await office.api.get("/api/v1/retention/statistics")).json()["items"]
    events = next(one for one in shown if one["subject"] == "events")
    assert (events["rows"], events["due"]) == (1, 1)
    assert [one["rows"] for one in events["ages"]] == [0, 1, 0, 0, 0, 0]
    dry = (await office.api.post("/api/v1/retention/prune", json={})).json()
    assert (dry["dry_run"], dry["rows"]["events"]) == (True, 1)

    await office.scheduler.once()
    identity = retention_id(office.workspace)
    await office.client.get_schedule_handle(identity).trigger()

    async def pruned() -> bool:
        shown = (await office.api.get("/api/v1/retention/statistics")).json()["items"]
        return next(one for one in shown if one["subject"] == "events")["rows"] == 0

    await until(pruned)
    started = (await office.client.get_schedule_handle(identity).describe()).info.recent_actions
    action = started[-1].action
    assert isinstance(action, ScheduleActionExecutionStartWorkflow)
    done = await office.client.get_workflow_handle(action.workflow_id).result()
    assert (done["rows"]["events"], done["more"]) == (1, False)
    await keep_own(office.client, action.workflow_id, "retention")
    wet = (await office.api.post("/api/v1/retention/prune", json={"dry_run": False})).json()
    assert (wet["dry_run"], wet["rows"]["events"]) == (False, 0)


async def test_cancel_other_ends_the_open_run(
    office: Office, worker: object, database: Database
) -> None:
    trigger = await office.add(overlap="cancel_other")
    answer = await office.api.post("/api/v1/definitions/nightly/runs", json={"input": {}})
    run_id = answer.json()["id"]
    async with database.session() as session:
        await session.exec(
            sa.update(Run).where(col(Run.id) == run_id).values(trigger_id=trigger["id"])
        )
    # As a schedule does it.
    found = await office.client.execute_workflow(
        GATE,
        args=[office.workspace, trigger["id"]],
        id=f"{office.id_of(trigger)}-by-hand",
        task_queue="sojourn",
        result_type=dict[str, Any],
    )
    assert found["outcome"] == "ordered"

    async def cancelled() -> bool:
        run = (await office.api.get(f"/api/v1/runs/{run_id}")).json()
        return run["status"] == "cancelled"

    await until(cancelled)
    new = (await office.api.get(f"/api/v1/runs/{found['run_id']}")).json()
    assert new["status"] == "queued"


async def test_firing_by_hand_and_backfill_need_no_temporal(office: Office) -> None:
    trigger = await office.add(paused=True)
    fired = await office.do(f"{trigger['id']}/fire", 202)
    run = (await office.api.get(f"/api/v1/runs/{fired['run_id']}")).json()
    assert run["status"] == "queued"
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    stretch = {"from": (hour - timedelta(hours=2)).isoformat(), "to": hour.isoformat()}
    for created in (9, 0):
        answer = await office.do(f"{trigger['id']}/backfill", 202, stretch)
        assert (len(answer["items"]), answer["created"]) == (9, created)
    await office.do(f"{trigger['id']}/backfill", 422, {**stretch, "to": "2999-01-01T00:00:00Z"})


async def test_what_is_no_schedule_has_no_times(office: Office) -> None:
    answer = await office.api.post(TRIGGERS, json={"kind": "event", "event": "order.paid"})
    identity = answer.json()["id"]
    for method, path in (("GET", "preview"), ("POST", "fire"), ("POST", "pause")):
        refused = await office.api.request(method, f"{TRIGGERS}/{identity}/{path}")
        assert refused.status_code == 422, refused.text
        assert refused.json()["code"] == "INVALID_INPUT"
    bad = await office.api.post(
        TRIGGERS, json={"kind": "schedule", "every": "1m", "input": {"at": "{{ event.id }}"}}
    )
    assert (bad.status_code, bad.json()["code"]) == (422, "INVALID_INPUT")


async def test_a_trigger_is_taken_while_temporal_is_away(
    office: Office, database: Database
) -> None:
    with socket.socket() as held:
        # Bound and not listening: connections are refused.
        held.bind(("127.0.0.1", 0))
        away = Gateway(await connect(f"127.0.0.1:{held.getsockname()[1]}", lazy=True))
        scheduler = Scheduler(database, away, office.workspace)
        trigger = await office.add()
        with pytest.raises(UnavailableError):
            await scheduler.once()
    assert (await office.get(f"{trigger['id']}/preview"))["written"] is False
    assert await office.scheduler.once() == 1
    assert (await office.get(f"{trigger['id']}/preview"))["written"] is True
