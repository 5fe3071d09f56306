"""Flow control: slots, keys, rates, singletons and debounce, with real runs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from httpx2 import AsyncClient, Response
from sqlmodel import col, select

from api.app import create_app
from api.circuit import Circuit
from api.config import ApiConfig
from api.outbox import Outbox, run_outbox
from api.starting import Starter
from api.tenants import Tenants
from db import runs
from db.admission import Caps
from db.engine import Database
from db.run_steps import RunStep
from schemas.actions import Catalogue
from schemas.run import RunStatus
from tests.integration.api.conftest import (
    API_KEY,
    YAML,
    Publish,
    a_name,
    assert_problem,
    client_of,
    until_status,
)
from tests.kit.spans import most_at_once
from workflows.gateway import Gateway

pytestmark = pytest.mark.usefixtures("worker")
INPUT = "input: {{type: object, properties: {{n: {{type: integer}}, key: {{type: string}}}}}}"
SHORT = "steps: [{{id: nap, type: delay, for: 300ms}}]"
HELD = """steps:
  - {{id: hold, type: wait, signal: go, timeout: 1h, if: input.n < 5}}
  - {{id: nap, type: delay, for: 200ms}}"""
LONG = "steps: [{{id: go, type: wait, signal: go, timeout: 1h}}]"


def limited(limits: str, steps: str = LONG) -> str:
    """Give a definition with these limits."""
    return f"name: {{name}}\n{INPUT}\nlimits: {limits}\n{steps}\n"


@pytest.fixture
async def outbox(
    database: Database, gateway: Gateway, catalogue: Catalogue
) -> AsyncIterator[Outbox]:
    """The API process's loop, running."""
    starter = Starter(database, gateway, ApiConfig(api_key=API_KEY), catalogue, Circuit(gateway))
    found = Outbox(starter)
    task = asyncio.create_task(run_outbox(starter, Tenants(database, "default")))
    yield found
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def begin(api: AsyncClient, name: str, **given: Any) -> Response:
    """Start a run."""
    return await api.post(f"/api/v1/definitions/{name}/runs", json={"input": given})


async def started(api: AsyncClient, name: str, **given: Any) -> str:
    """Start a run that starts at once."""
    answer = await begin(api, name, **given)
    assert (answer.status_code, answer.json()["status"]) == (201, "running"), answer.text
    return answer.json()["id"]


async def queued(api: AsyncClient, name: str, position: int, **given: Any) -> str:
    """Start a run that is queued at this place."""
    answer = await begin(api, name, **given)
    assert answer.status_code == 202, answer.text
    assert (answer.json()["status"], answer.json()["position"]) == ("queued", position)
    return answer.json()["id"]


async def release(api: AsyncClient, run_id: str) -> None:
    """Let a run of `LONG` end."""
    assert (await api.post(f"/api/v1/runs/{run_id}/signals/go", json={})).status_code == 202


async def test_never_more_at_once_and_in_order(
    api: AsyncClient, publish: Publish, outbox: Outbox, database: Database, long: bool
) -> None:
    count = 200 if long else 30
    name = await publish(limited("{{concurrent_runs: 5}}", HELD))
    held = [await started(api, name, n=n) for n in range(5)]
    ids = held + [await queued(api, name, n - 4, n=n) for n in range(5, count)]
    queue = (await api.get(f"/api/v1/definitions/{name}/queue")).json()
    assert (queue["active"], queue["waiting"]) == (5, count - 5)
    assert queue["oldest"] is not None
    for run_id in held:
        await release(api, run_id)
    async with asyncio.timeout(30 + count):
        while True:
            async with database.session() as session:
                statement = select(runs.Run).where(col(runs.Run.id).in_(ids))
                found = list((await session.exec(statement)).all())
            if all(run.status is RunStatus.COMPLETED for run in found):
                break
            await asyncio.sleep(0.1)
    assert most_at_once([(run.admitted_at, run.finished_at) for run in found]) == 5
    async with database.session() as session:
        statement = select(RunStep).where(col(RunStep.run_id).in_(ids), RunStep.id == "nap")
        naps = list((await session.exec(statement)).all())
    assert len(naps) == count
    assert most_at_once([(nap.started_at, nap.finished_at) for nap in naps]) <= 5
    admitted = sorted(found, key=lambda run: (run.admitted_at, run.created_at))
    assert [run.input["n"] for run in admitted] == list(range(count))


async def test_a_queued_run_starts_when_one_ends_and_can_be_cancelled(
    api: AsyncClient, publish: Publish, outbox: Outbox
) -> None:
    name = await publish(limited("{{concurrent_runs: 1}}"))
    first = await started(api, name)
    second = await queued(api, name, 1)
    third = await queued(api, name, 2)
    shown = (await api.get(f"/api/v1/runs/{second}")).json()
    assert (shown["status"], shown["stale"]) == ("queued", False)
    answer = await api.post(f"/api/v1/runs/{second}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (202, "cancelled")
    await release(api, first)
    await until_status(api, third, "waiting")
    assert (await api.get(f"/api/v1/runs/{second}")).json()["status"] == "cancelled"
    queue = (await api.get(f"/api/v1/definitions/{name}/queue")).json()
    assert queue == {"waiting": 0, "active": 1, "oldest": None}
    await release(api, third)


async def test_a_terminated_run_gives_its_slot_back(
    api: AsyncClient, publish: Publish, outbox: Outbox, gateway: Gateway, database: Database
) -> None:
    name = await publish(limited("{{concurrent_runs: 1}}"))
    first = await started(api, name)
    second = await queued(api, name, 1)
    await gateway._client.get_workflow_handle(f"default/{name}/{first}").terminate()
    # Whoever looks at a run that Temporal has ended settles its row, as the reconciler does.
    await until_status(api, first, "terminated")
    await until_status(api, second, "waiting")
    await release(api, second)


async def test_slots_of_a_key(api: AsyncClient, publish: Publish, outbox: Outbox) -> None:
    name = await publish(limited("{{concurrency: {{key: input.key, runs: 1}}}}"))
    first = await started(api, name, key="a")
    second = await queued(api, name, 1, key="a")
    other = await started(api, name, key="b")
    await release(api, first)
    await until_status(api, second, "waiting")
    for run_id in (second, other):
        await release(api, run_id)
    answer = await begin(api, name)
    assert_problem(answer, 422, "EXPRESSION_ERROR")


async def test_starts_a_minute(api: AsyncClient, publish: Publish) -> None:
    name = await publish(limited("{{starts_per_minute: 3}}", SHORT))
    headers = {"Idempotency-Key": name}
    at = f"/api/v1/definitions/{name}/runs"
    answers = [await api.post(at, json={}, headers=headers)]
    answers += [await begin(api, name) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [201, 201, 201, 429]
    assert_problem(answers[-1], 429, "RATE_LIMITED")
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 20
    # The key's own run is no new start.
    assert (await api.post(at, json={}, headers=headers)).status_code == 200


async def test_singleton_skips(api: AsyncClient, publish: Publish, outbox: Outbox) -> None:
    name = await publish(limited("{{singleton: {{key: input.key}}}}"))
    first = await started(api, name, key="a")
    other = await started(api, name, key="b")
    problem = assert_problem(await begin(api, name, key="a"), 409, "CONFLICT")
    assert first in problem["detail"]
    for run_id in (first, other):
        await release(api, run_id)
        await until_status(api, run_id, "completed")
    await release(api, await started(api, name, key="a"))


async def test_singleton_queues(api: AsyncClient, publish: Publish, outbox: Outbox) -> None:
    name = await publish(limited("{{singleton: {{mode: queue}}}}"))
    first = await started(api, name)
    second = await queued(api, name, 1)
    await release(api, first)
    await until_status(api, second, "waiting")
    await release(api, second)


async def test_singleton_cancels_the_running(
    api: AsyncClient, publish: Publish, outbox: Outbox
) -> None:
    name = await publish(limited("{{singleton: {{mode: cancel_running}}}}"))
    first = await started(api, name)
    second = (await begin(api, name)).json()["id"]
    third = (await begin(api, name)).json()["id"]
    await until_status(api, first, "cancelled")
    await until_status(api, third, "waiting")
    shown = await until_status(api, second, "cancelled")
    if shown["error"] is not None:
        assert shown["error"]["message"] == f"replaced by the run {third}"
    await release(api, third)


async def test_debounce(api: AsyncClient, publish: Publish, outbox: Outbox) -> None:
    name = await publish(limited("{{debounce: {{key: input.key, for: 700ms}}}}"))
    first = await queued(api, name, 1, key="a", n=1)
    second = await queued(api, name, 1, key="a", n=2)
    other = await queued(api, name, 2, key="b", n=3)
    shown = await until_status(api, first, "cancelled")
    assert shown["error"]["message"] == f"replaced by the run {second}"
    for run_id in (second, other):
        await until_status(api, run_id, "waiting")
        await release(api, run_id)


async def test_caps_of_the_workspace(
    database: Database, gateway: Gateway, catalogue: Catalogue
) -> None:
    caps = Caps(open_runs=2, starts_per_minute=1000)
    config = ApiConfig(api_key=API_KEY, workspace=a_name("capped"), caps=caps)
    app = create_app(database=database, gateway=gateway, catalogue=catalogue, config=config)
    outbox = Outbox(Starter(database, gateway, config, catalogue, Circuit(gateway)))
    async with client_of(app) as api:
        for name in ("one", "two"):
            answer = await api.post(
                "/api/v1/definitions?publish=true",
                content=f"name: {name}\n{LONG}\n".replace("{{", "{").replace("}}", "}"),
                headers=YAML,
            )
            assert answer.status_code == 201, answer.text
        first = await started(api, "one")
        second = await started(api, "two")
        third = await queued(api, "one", 1)
        await outbox.once()
        assert (await api.get(f"/api/v1/runs/{third}")).json()["status"] == "queued"
        await release(api, second)
        await until_status(api, second, "completed")
        await outbox.once()
        await until_status(api, third, "waiting")
        for run_id in (first, third):
            await release(api, run_id)
