"""Dead letters: what fails for good is kept, and tried again once, with what it has finished."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from httpx2 import AsyncClient
from sqlmodel import select

from api.circuit import Circuit
from api.config import ApiConfig
from api.outbox import Outbox, run_outbox
from api.starting import Starter
from db import dead_letters
from db.audit import AuditEntry
from db.dead_letter_table import DeadLetter
from db.engine import Database
from db.mail_messages import MailMessage, MailState
from schemas.actions import Catalogue
from schemas.errors import ErrorCode
from schemas.run import ErrorInfo
from tests.integration.api.conftest import (
    API_KEY,
    Publish,
    assert_problem,
    start,
    until_status,
)
from workflows.gateway import Gateway

pytestmark = pytest.mark.usefixtures("worker")
LETTERS = "/api/v1/dead-letters"
# Fails unless the input says otherwise; what is before it leaves a mark.
FRAGILE = """
name: {name}
input: {{type: object, properties: {{n: {{type: integer}}, ok: {{type: boolean}}}}}}
output: {{first: "{{{{ steps.first.output }}}}", vars: "{{{{ vars }}}}"}}
steps:
  - {{id: first, type: set, vars: {{mark: "{{{{ run.id }}}}"}}}}
  - {{id: ways, type: parallel, branches: [
      {{name: a, do: [{{id: good, type: set, vars: {{good: "{{{{ run.id }}}}"}}}}]}},
      {{name: b, do: [
        {{id: gate, type: condition, if: "has(input.ok) && input.ok",
          else: [{{id: boom, type: fail, message: "order 17 of ada@example.com is refused"}}]}}]}}]}}
  - {{id: last, type: set, vars: {{last: "{{{{ run.id }}}}"}}}}
"""


@pytest.fixture
async def outbox(
    database: Database, gateway: Gateway, catalogue: Catalogue
) -> AsyncIterator[Outbox]:
    """The API process's loop, running."""
    starter = Starter(database, gateway, ApiConfig(api_key=API_KEY), catalogue, Circuit(gateway))
    found = Outbox(starter)
    task = asyncio.create_task(run_outbox(found))
    yield found
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def letter_of(api: AsyncClient, run_id: str) -> dict[str, Any]:
    """Give the one dead letter of a run."""
    items = (await api.get(LETTERS, params={"run": run_id})).json()["items"]
    assert len(items) == 1
    return items[0]


async def dead(api: AsyncClient, name: str, given: dict[str, Any] | None = None) -> dict[str, Any]:
    """Start a run that fails; gives its dead letter."""
    run_id = await start(api, name, given or {"n": 1})
    await until_status(api, run_id, "failed")
    return await letter_of(api, run_id)


async def redrive(api: AsyncClient, letter: str, **body: Any) -> dict[str, Any]:
    """Re-drive a dead letter."""
    answer = await api.post(f"{LETTERS}/{letter}/redrive", json=body)
    assert answer.status_code == 202, answer.text
    return answer.json()


async def test_from_the_failed_step_with_what_is_finished(
    api: AsyncClient, publish: Publish, database: Database
) -> None:
    name = await publish(FRAGILE)
    letter = await dead(api, name)
    assert (letter["kind"], letter["code"], letter["state"]) == ("run", "STEP_FAILED", "open")
    assert letter["step_path"] == "boom"

    path = f"{LETTERS}/{letter['id']}/redrive"
    seen = (await api.post(path, json={"preview": True, "input": {"n": 2, "ok": True}})).json()
    assert (seen["fit"], seen["points"], seen["kept"]) == ("safe", ["boom"], ["first", "good"])

    done = await redrive(api, letter["id"], input={"n": 2, "ok": True}, **{"from": "failed_step"})
    assert (done["state"], done["redrives"]) == ("redriving", 1)
    # The verdict was taken before the failure, and stays: it fails at the same step again.
    await until_status(api, done["run_id"], "failed")
    steps = (await api.get(f"/api/v1/runs/{done['run_id']}/steps")).json()
    assert [step["path"] for step in steps][:2] == ["first", "good"]
    assert steps[0]["output"] == {"mark": letter["run_id"]}
    assert next(step for step in steps if step["path"] == "boom")["status"] == "failed"
    again = await letter_of(api, done["run_id"])
    assert (again["redrives"], again["fingerprint"]) == (1, letter["fingerprint"])
    assert (await api.get(f"{LETTERS}/{letter['id']}")).json()["state"] == "redriven"

    fresh = await redrive(api, again["id"], input={"n": 2, "ok": True}, **{"from": "start"})
    ended = await until_status(api, fresh["run_id"], "completed")
    assert ended["output"]["first"] == {"mark": fresh["run_id"]}
    assert (await api.get(f"{LETTERS}/{again['id']}")).json()["state"] == "redriven"
    async with database.session() as session:
        wanted = select(AuditEntry).where(AuditEntry.subject == again["id"])
        deed = (await session.exec(wanted)).one()
    assert (deed.action, (deed.data or {})["redrive"]) == ("dead_letter.redrive", 2)


async def test_in_a_newer_version(api: AsyncClient, publish: Publish) -> None:
    name = await publish(FRAGILE)
    letter = await dead(api, name)
    mended = FRAGILE.replace(
        'type: fail, message: "order 17 of ada@example.com is refused"',
        "type: set, vars: {{mended: true}}",
    )
    other = FRAGILE.replace(
        '{{id: first, type: set, vars: {{mark: "{{{{ run.id }}}}"}}}}',
        "{{id: first, type: delay, for: 1ms}}",
    ).replace('output: {{first: "{{{{ steps.first.output }}}}", vars: "{{{{ vars }}}}"}}\n', "")
    for text in (mended, other):
        answer = await api.post(
            f"/api/v1/definitions/{name}/versions",
            params={"publish": True},
            content=text.format(name=name),
            headers={"content-type": "application/yaml"},
        )
        assert answer.status_code == 201, answer.text
    path = f"{LETTERS}/{letter['id']}/redrive"
    refused = await api.post(path, json={"version": 3})
    assert "changed its type" in assert_problem(refused, 409, "CONFLICT")["detail"]
    missing = await api.post(path, json={"version": 9})
    assert_problem(missing, 404, "DEFINITION_NOT_FOUND")
    assert (await api.get(f"{LETTERS}/{letter['id']}")).json()["state"] == "open"

    done = await redrive(api, letter["id"], version=2)
    ended = await until_status(api, done["run_id"], "completed")
    assert ended["version"] == 2
    assert ended["output"]["vars"] == {
        "mark": letter["run_id"],
        "good": letter["run_id"],
        "mended": True,
        "last": done["run_id"],
    }
    assert (await api.get(f"{LETTERS}/{letter['id']}")).json()["state"] == "redriven"
