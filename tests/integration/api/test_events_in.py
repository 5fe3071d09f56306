"""POST /events and GET /events; triggers that start runs; a run that wakes another."""

from datetime import timedelta
from typing import Any

import pytest
from httpx2 import AsyncClient
from sqlmodel import col, update
from temporalio.client import Client
from temporalio.worker import Worker

from api.circuit import Circuit
from api.config import ApiConfig
from api.outbox import Outbox
from api.starting import Starter
from db import events, runs
from db.base import now
from db.engine import Database
from db.event_tables import EventDelivery
from db.ids import new_id
from schemas.actions import Catalogue
from schemas.events import NewEvent
from schemas.run import RunStatus
from tests.integration.api.conftest import (
    API_KEY,
    Publish,
    a_name,
    assert_problem,
    closed_port,
    start,
    until_status,
)
from workflows.gateway import Gateway
from workflows.setup import connect

EVENTS = "/api/v1/events"
CLOUD = {"content-type": "application/cloudevents+json"}
WAITS = """
name: {name}
input: {{type: object, required: [key], properties: {{key: {{type: string}}}}}}
output: "{{{{ steps.w.output }}}}"
steps:
  - {{id: w, type: wait, event: order.paid, key: "{{{{ input.key }}}}"}}
"""
EMITS = """
name: {name}
input: {{type: object, required: [key], properties: {{key: {{type: string}}}}}}
output: "{{{{ steps.tell.output }}}}"
steps:
  - {{id: tell, type: emit, with: {{type: order.paid, key: "{{{{ input.key }}}}", data: {{n: 9}}}}}}
"""
STARTED = """
name: {name}
input:
  type: object
  required: [order]
  additionalProperties: false
  properties: {{order: {{type: string}}, amount: {{type: number}}}}
output: "{{{{ input }}}}"
steps: [{{id: s, type: set, vars: {{x: 1}}}}]
"""


def plain(key: str, **more: Any) -> dict[str, Any]:
    return {"type": "order.paid", "key": key, "data": {"n": 1}, **more}


def cloud(key: str, **more: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": new_id(),
        "source": "https://shop.example.com",
        "type": "order.paid",
        "subject": key,
        "data": {"n": 2},
        **more,
    }


@pytest.fixture
def outbox(database: Database, gateway: Gateway, catalogue: Catalogue) -> Outbox:
    """The API process's loop, a pass at a time."""
    config = ApiConfig(api_key=API_KEY)
    return Outbox(Starter(database, gateway, config, catalogue, Circuit(gateway)))


async def test_a_plain_event_reaches_the_run_that_waits(
    api: AsyncClient, publish: Publish, worker: Worker
) -> None:
    key = new_id()
    run_id = await start(api, await publish(WAITS), {"key": key})
    await until_status(api, run_id, "waiting")
    answer = await api.post(EVENTS, json=plain(key, id=f"paid-{key}"))
    assert answer.status_code == 202, answer.text
    told = {"id": f"paid-{key}", "matched": 1, "started": 0}
    assert answer.json() == {**told, "duplicate": False}
    assert (await until_status(api, run_id, "completed"))["output"] == {"n": 1}
    again = await api.post(EVENTS, json=plain(key, id=f"paid-{key}", data=None))
    assert (again.status_code, again.json()) == (202, {**told, "duplicate": True})


async def test_a_cloud_event_before_the_wait(
    api: AsyncClient, publish: Publish, worker: Worker
) -> None:
    key = new_id()
    name = await publish(WAITS.replace("steps:", "steps:\n  - {{id: go, type: wait, signal: go}}"))
    run_id = await start(api, name, {"key": key})
    await until_status(api, run_id, "waiting")
    sent = cloud(key, time="2026-01-31T12:00:00Z", traceparent="00-x", datacontenttype="text/json")
    answer = await api.post(EVENTS, json=sent, headers=CLOUD)
    assert answer.json() == {"id": sent["id"], "matched": 0, "started": 0, "duplicate": False}
    await api.post(f"/api/v1/runs/{run_id}/signals/go", json={})
    assert (await until_status(api, run_id, "completed"))["output"] == {"n": 2}
    listed = (await api.get(EVENTS, params={"type": "order.paid", "key": key})).json()["items"]
    assert [item["source"] for item in listed] == ["https://shop.example.com"]
    assert listed[0]["time"] == "2026-01-31T12:00:00Z"
    # The same id from somebody else is another event.
    other = await api.post(EVENTS, json=cloud(key, id=sent["id"], source="urn:b"), headers=CLOUD)
    assert not other.json()["duplicate"]
    page = (await api.get(EVENTS, params={"key": key, "limit": 1})).json()
    rest = await api.get(EVENTS, params={"key": key, "cursor": page["next_cursor"]})
    assert len(rest.json()["items"]) == 1


@pytest.mark.parametrize(
    ("body", "headers", "path"),
    [
        ({"type": "order.paid"}, {}, "body.key"),
        ({"type": "order paid", "key": "k"}, {}, "body.type"),
        ({"type": "a", "key": "k", "extra": 1}, {}, "body.extra"),
        ({"type": "a", "key": ""}, {}, "body.key"),
        ({"type": "a", "key": "k" * 513}, {}, "body.key"),
        (cloud("k", specversion="0.3"), CLOUD, "body.specversion"),
        (cloud("k", subject=None), CLOUD, "body.subject"),
        (cloud("k", time="2026-01-31T12:00:00"), CLOUD, "body.time"),
        (cloud("k", data_base64="eA=="), CLOUD, "body.data_base64"),
        ([], {}, "body"),
    ],
)
async def test_bad_events(api: AsyncClient, body: Any, headers: dict[str, str], path: str) -> None:
    answer = await api.post(EVENTS, json=body, headers=headers)
    problem = assert_problem(answer, 422, "INVALID_INPUT")
    assert path in [one["path"] for one in problem["problems"]]


async def test_events_that_cannot_be_read(api: AsyncClient) -> None:
    for content, kind in (
        (b"{", "application/json"),
        (b"\xff", "application/json"),
        (b"<event/>", "application/xml"),
        (b'{"type": "a", "key": "k\\u0000"}', "application/json"),
        (b'{"type": "a", "key": "k", "data": NaN}', "application/json"),
    ):
        answer = await api.post(EVENTS, content=content, headers={"content-type": kind})
        assert_problem(answer, 422, "INVALID_INPUT")
    answer = await api.post(EVENTS, json=plain("k", data="x" * 270_000))
    assert "262144" in assert_problem(answer, 413, "LIMIT_EXCEEDED")["detail"]
    answer = await api.post(EVENTS, json=plain("k", data="x" * 2_000_000))
    assert_problem(answer, 413, "LIMIT_EXCEEDED")


async def test_a_trigger_starts_runs(
    api: AsyncClient, publish: Publish, worker: Worker, database: Database
) -> None:
    name, kind = await publish(STARTED), f"order.{a_name()}"
    address = f"/api/v1/definitions/{name}/triggers"
    body = {
        "event": kind,
        "where": "event.data.amount > 10",
        "input": {"order": "{{ event.key }}", "amount": "{{ event.data.amount }}"},
    }
    made = await api.post(address, json=body)
    assert made.status_code == 201, made.text
    assert made.headers["location"] == f"{address}/{made.json()['id']}"
    for number, amount in enumerate((5, 20, 20)):
        sent = plain("o-1", type=kind, data={"amount": amount}, id=f"{kind}-{number}")
        answer = (await api.post(EVENTS, json=sent)).json()
        assert answer["started"] == (1 if amount > 10 else 0)
        assert (await api.post(EVENTS, json=sent)).json() == {**answer, "duplicate": True}
    found = (await api.get("/api/v1/runs", params={"definition": name})).json()["items"]
    assert len(found) == 2
    for run in found:
        detail = await until_status(api, run["id"], "completed")
        assert detail["output"] == {"order": "o-1", "amount": 20}
    view = (await api.get(f"{address}/{made.json()['id']}")).json()
    assert view["last_fired_at"] is not None
    assert view["last_error"] is None
    await api.put(f"{address}/{view['id']}", json={**body, "enabled": False})
    rested = await api.post(EVENTS, json=plain("o", type=kind, data={"amount": 99}))
    assert rested.json()["started"] == 0


async def test_a_trigger_that_fails_says_why(api: AsyncClient, publish: Publish) -> None:
    name, kind = await publish(STARTED), f"order.{a_name()}"
    address = f"/api/v1/definitions/{name}/triggers"
    given = {"order": "{{ event.key }}", "amount": "{{ event.data.amount }}"}
    body = {"event": kind, "input": given}
    trigger = (await api.post(address, json=body)).json()
    answer = await api.post(EVENTS, json=plain("o", type=kind, data={"amount": "much"}))
    assert (answer.status_code, answer.json()["started"]) == (202, 0)
    view = (await api.get(f"{address}/{trigger['id']}")).json()
    assert view["last_error"].startswith("INVALID_INPUT: ")
    answer = await api.post(EVENTS, json=plain("o", type=kind, data={}))
    view = (await api.get(f"{address}/{trigger['id']}")).json()
    assert view["last_error"].startswith("EXPRESSION_ERROR: ")


async def test_triggers_are_checked_listed_and_deleted(api: AsyncClient, publish: Publish) -> None:
    name = await publish(STARTED)
    address = f"/api/v1/definitions/{name}/triggers"
    for body, path in (
        ({"event": "a", "input": {"order": "x"}, "where": "event.key =="}, "where"),
        ({"event": "a", "input": {"order": "x"}, "where": "event.key"}, "where"),
        ({"event": "a", "input": {"order": "{{ input.x }}"}}, "input.order"),
        ({"event": "a", "input": {"order": "{{ event.key"}}, "input.order"),
        ({"event": "a", "input": {"amount": "{{ event.data }}"}}, "input"),
        ({"event": "a", "input": {"order": "{{ event.key }}", "x": 1}}, "input.x"),
        ({"event": "a", "input": {"order": 5}}, "input.order"),
    ):
        problem = assert_problem_any(await api.post(address, json=body))
        assert path in [one["path"] for one in problem["problems"]], (body, problem)
    missing = f"/api/v1/definitions/{a_name()}/triggers"
    assert_problem(await api.get(missing), 404, "DEFINITION_NOT_FOUND")
    good = {"event": "a", "input": {"order": "x"}}
    assert_problem(await api.post(missing, json=good), 404, "DEFINITION_NOT_FOUND")
    ids = [(await api.post(address, json=good)).json()["id"] for _ in range(3)]
    page = (await api.get(address, params={"limit": 2})).json()
    rest = (await api.get(address, params={"cursor": page["next_cursor"]})).json()
    assert [item["id"] for item in page["items"] + rest["items"]] == ids[::-1]
    assert (await api.delete(f"{address}/{ids[0]}")).status_code == 204
    assert_problem(await api.get(f"{address}/{ids[0]}"), 404, "NOT_FOUND")
    assert_problem(await api.delete(f"{address}/{ids[0]}"), 404, "NOT_FOUND")


def assert_problem_any(answer: Any) -> dict[str, Any]:
    assert answer.status_code == 422, answer.text
    return answer.json()


async def test_emit_wakes_another_run(api: AsyncClient, publish: Publish, worker: Worker) -> None:
    key = new_id()
    waiting = await start(api, await publish(WAITS), {"key": key})
    await until_status(api, waiting, "waiting")
    telling = await start(api, await publish(EMITS), {"key": key})
    assert (await until_status(api, waiting, "completed"))["output"] == {"n": 9}
    detail = await until_status(api, telling, "completed")
    assert detail["output"] == {
        "id": f"{telling}:tell",
        "matched": 1,
        "started": 0,
        "duplicate": False,
    }


async def test_emit_starts_a_run_through_the_outbox(
    api: AsyncClient, publish: Publish, worker: Worker, outbox: Outbox
) -> None:
    kind = f"order.{a_name()}"
    name, teller = await publish(STARTED), await publish(EMITS.replace("order.paid", kind))
    body = {"event": kind, "input": {"order": "{{ event.key }}"}}
    await api.post(f"/api/v1/definitions/{name}/triggers", json=body)
    telling = await start(api, teller, {"key": "o-7"})
    assert (await until_status(api, telling, "completed"))["output"]["started"] == 1
    (run,) = (await api.get("/api/v1/runs", params={"definition": name})).json()["items"]
    assert run["status"] == "queued"
    assert await outbox.once() >= 1
    detail = await until_status(api, run["id"], "completed")
    assert detail["output"] == {"order": "o-7"}


async def test_what_a_crash_left_undone_is_delivered(
    api: AsyncClient, publish: Publish, worker: Worker, database: Database, outbox: Outbox
) -> None:
    key = new_id()
    run_id = await start(api, await publish(WAITS), {"key": key})
    await until_status(api, run_id, "waiting")
    event = NewEvent(id=key, source="crash", type="order.paid", key=key, data={"n": 3}, time=now())
    async with database.session() as session:
        await events.publish(session, "default", event)
    # The process is gone; somebody else looks when the lease is over.
    async with database.session() as session:
        await session.exec(update(EventDelivery).values(due_at=now()))
    assert await outbox.once() >= 1
    assert (await until_status(api, run_id, "completed"))["output"] == {"n": 3}
    assert await outbox.once() == 0


async def test_a_run_that_was_terminated_counts_as_told(
    api: AsyncClient,
    publish: Publish,
    worker: Worker,
    database: Database,
    outbox: Outbox,
    client: Client,
) -> None:
    key = new_id()
    run_id = await start(api, await publish(WAITS), {"key": key})
    detail = await until_status(api, run_id, "waiting")
    await client.get_workflow_handle(detail["workflow_id"]).terminate()
    assert (await api.post(EVENTS, json=plain(key))).json()["matched"] == 1
    async with database.session() as session:
        await session.exec(update(EventDelivery).values(due_at=now()))
    assert await outbox.once() == 0
    # And nobody tries to tell it again.
    assert (await api.post(EVENTS, json=plain(key))).json()["matched"] == 0


async def test_events_are_taken_while_temporal_is_away(
    without_temporal: AsyncClient,
    api: AsyncClient,
    publish: Publish,
    worker: Worker,
    database: Database,
    outbox: Outbox,
) -> None:
    key = new_id()
    run_id = await start(api, await publish(WAITS), {"key": key})
    await until_status(api, run_id, "waiting")
    answer = await without_temporal.post(EVENTS, json=plain(key))
    assert (answer.status_code, answer.json()["matched"]) == (202, 1)
    async with database.session() as session:
        await session.exec(update(EventDelivery).values(due_at=now()))
    assert await outbox.once() >= 1
    await until_status(api, run_id, "completed")


async def test_an_ordered_run_waits_for_temporal_however_long(
    api: AsyncClient,
    publish: Publish,
    worker: Worker,
    database: Database,
    catalogue: Catalogue,
    outbox: Outbox,
) -> None:
    name, kind = await publish(STARTED), f"order.{a_name()}"
    body = {"event": kind, "input": {"order": "{{ event.key }}"}}
    await api.post(f"/api/v1/definitions/{name}/triggers", json=body)
    with closed_port() as number:
        away = Gateway(await connect(f"127.0.0.1:{number}", lazy=True))
        starter = Starter(database, away, ApiConfig(api_key=API_KEY), catalogue, Circuit(away))
        event = NewEvent(id=kind, source="s", type=kind, key="o-1", time=now())
        async with database.session() as session:
            published = await events.publish(session, "default", event)
        await Outbox(starter).forward(published)
    (run_id,) = published.run_ids
    async with database.session() as session:
        assert (await runs.get(session, "default", run_id)).status is RunStatus.QUEUED
        long_ago = now() - timedelta(minutes=10)
        moved = {"checked_at": long_ago, "created_at": long_ago, "due_at": long_ago}
        await session.exec(update(runs.Run).where(col(runs.Run.id) == run_id).values(moved))
    assert await outbox.once() >= 1
    await until_status(api, run_id, "completed")
