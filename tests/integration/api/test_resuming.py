"""Where a re-driven run goes on: by the run's own state, or by its record where nobody tells it."""

import asyncio
from typing import Any

import pytest
from httpx2 import AsyncClient

from api.config import ApiConfig
from api.reconciler import settle
from api.resuming import resumed
from db import dead_letters, redriving, runs, webhook_deliveries
from db.engine import Database
from db.projection import close
from schemas.definition import Definition
from schemas.errors import ConflictError
from schemas.keeping import Keep
from schemas.run import ErrorInfo, RunStart, RunStatus
from tests.integration.api.conftest import API_KEY, Publish, start, until_status
from tests.integration.api.test_dead_letters import FRAGILE, LETTERS, dead, letter_of, redrive
from tests.integration.api.test_webhooks import MakeHook, hook
from workflows.gateway import Gateway

pytestmark = pytest.mark.usefixtures("worker")
__all__ = ["hook"]


async def new_run(
    api: AsyncClient, database: Database, letter: dict[str, Any]
) -> tuple[runs.Run, RunStart]:
    """Re-drive a dead letter without starting the new run; gives it with its start."""
    async with database.session() as session:
        done = await redriving.redrive(
            session, "default", letter["id"], redriving.Wish(), actor="test"
        )
    assert done.run_id is not None
    async with database.session() as session:
        run = await runs.get(session, "default", done.run_id)
    answer = await api.get(f"/api/v1/definitions/{run.definition}/versions/1")
    definition = Definition.model_validate(answer.json()["definition"])
    return run, RunStart(run_id=run.id, workspace="default", definition=definition, version=1)


async def test_without_temporal_the_record_tells(
    api: AsyncClient, publish: Publish, database: Database, gateway: Gateway
) -> None:
    letter = await dead(api, await publish(FRAGILE))
    run, begin = await new_run(api, database, letter)
    config = ApiConfig(api_key=API_KEY)
    exact = await resumed(database, gateway, run, begin, config)
    assert exact is not None
    assert exact.vars == {"mark": letter["run_id"], "good": letter["run_id"]}
    assert sorted(exact.steps) == ["first", "gate", "good", "ways"]
    assert exact.steps["gate"].choice == "else"

    async with database.session() as session:
        ended = await runs.get(session, "default", letter["run_id"])
        ended.workflow_id = "default/unknown/to-temporal"
        session.add(ended)
    told = await resumed(database, gateway, run, begin, config)
    assert told is not None
    # What is open inside of `ways` is not known: it runs again as a whole.
    assert sorted(told.steps) == ["first"]
    assert told.vars == {"mark": letter["run_id"]}
    steps = (await api.get(f"/api/v1/runs/{run.id}/steps")).json()
    assert [step["path"] for step in steps] == ["first", "good"]


async def test_a_pruned_run_has_nothing_to_go_on_from(
    api: AsyncClient, publish: Publish, database: Database, gateway: Gateway
) -> None:
    letter = await dead(api, await publish(FRAGILE))
    run, begin = await new_run(api, database, letter)
    run.resumes_from = "pruned"
    config = ApiConfig(api_key=API_KEY, ai_keep=Keep.NONE)
    with pytest.raises(ConflictError, match="pruned"):
        await resumed(database, gateway, run, begin, config)


async def test_a_run_that_timed_out_goes_on_where_it_stood(
    api: AsyncClient, publish: Publish, database: Database, gateway: Gateway
) -> None:
    name = await publish("""
name: {name}
limits: {{run_timeout: 3s}}
steps:
  - {{id: first, type: set, vars: {{mark: "{{{{ run.id }}}}"}}}}
  - {{id: nap, type: wait, signal: go}}
output: "{{{{ vars }}}}"
""")
    run_id = await start(api, name, {})
    await until_status(api, run_id, "waiting")
    async with database.session() as session:
        run = await runs.get(session, "default", run_id)
    async with asyncio.timeout(120):
        while True:
            execution = await gateway.describe(run.workflow_id)
            assert execution is not None
            if execution.status.terminal:
                break
            await asyncio.sleep(0.1)
    assert await settle(database, gateway, run, execution)
    letter = await letter_of(api, run_id)
    assert (letter["code"], letter["step_path"]) == ("TIMEOUT", None)
    done = await redrive(api, letter["id"])
    await until_status(api, done["run_id"], "waiting")
    await api.post(f"/api/v1/runs/{done['run_id']}/signals/go", json={"data": None})
    ended = await until_status(api, done["run_id"], "completed")
    assert ended["output"] == {"mark": run_id}


async def test_the_end_from_outside_makes_a_letter_and_settles_one(
    api: AsyncClient, publish: Publish, database: Database
) -> None:
    letter = await dead(api, await publish(FRAGILE))
    run, _ = await new_run(api, database, letter)
    error = ErrorInfo(code="TIMEOUT", message="the run took too long")
    async with database.session() as session:
        assert await close(session, "default", run.id, RunStatus.TIMED_OUT, error=error)
        before = await dead_letters.get(session, "default", letter["id"])
    assert before.state.value == "redriven"
    after = await letter_of(api, run.id)
    assert (after["code"], after["state"], after["redrives"]) == ("TIMEOUT", "open", 1)
    terminated, _ = await new_run(api, database, after)
    # The run between them never began: what the first one had finished is still finished.
    assert terminated.resumes_from == letter["run_id"]
    async with database.session() as session:
        assert await close(session, "default", terminated.id, RunStatus.TERMINATED, error=error)
    assert (await api.get(LETTERS, params={"run": terminated.id})).json()["items"] == []


async def test_a_delivery_that_cannot_be_mapped(
    api: AsyncClient, hook: MakeHook, database: Database
) -> None:
    sender = await hook(input={"order": "{{ body.missing.deeply }}"})
    answer = await sender.send("evt_1", order="a")
    assert answer.json()["status"] == "failed", answer.text
    delivery = answer.json()["delivery_id"]
    found = (await api.get(LETTERS, params={"kind": "delivery", "limit": 200})).json()["items"]
    (letter,) = [item for item in found if item["subject_id"] == delivery]
    assert letter["code"] == "EXPRESSION_ERROR"

    path = f"{LETTERS}/{letter['id']}/redrive"
    assert (await api.post(path, json={})).status_code == 422
    assert (await api.post(path, json={"version": 1})).status_code == 422
    assert (await api.get(f"{LETTERS}/{letter['id']}")).json()["state"] == "open"
    body = {"kind": "webhook", "verify": (await sender.view())["verify"]}
    changed = await api.put(sender.address, json={**body, "input": {"order": "{{ body.order }}"}})
    assert changed.status_code == 200, changed.text
    done = await redrive(api, letter["id"])
    assert done["state"] == "redriven"
    ended = await until_status(api, done["run_id"], "completed")
    assert ended["output"] == {"order": "a"}
    async with database.session() as session:
        row = await webhook_deliveries.get(session, "default", delivery)
    assert (row.status.value, row.run_id) == ("accepted", done["run_id"])
