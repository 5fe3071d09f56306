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
from api.tenants import Tenants
from db import parked_sends
from db.audit import AuditEntry
from db.dead_letter_table import DeadLetter
from db.engine import Database
from db.mail_messages import MailMessage, MailState
from schemas.actions import Catalogue
from schemas.errors import ErrorCode
from schemas.run import ErrorInfo
from tests.faults.evidence import figures
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
          else: [{{id: boom, type: fail, message: "order 17 of ada@example.com"}}]}}]}}]}}
  - {{id: last, type: set, vars: {{last: "{{{{ run.id }}}}"}}}}
"""


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
        'type: fail, message: "order 17 of ada@example.com"',
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


async def test_what_was_undone_runs_again(api: AsyncClient, publish: Publish) -> None:
    name = await publish("""
name: {name}
input: {{type: object, properties: {{n: {{type: integer}}, ok: {{type: boolean}}}}}}
output: "{{{{ vars }}}}"
steps:
  - {{id: free, type: set, vars: {{free: "{{{{ run.id }}}}"}}}}
  - {{id: books, type: set, vars: {{booked: "{{{{ run.id }}}}"}}, compensate: [
      {{id: unbook, type: set, vars: {{booked: "no"}}}}]}}
  - {{id: each, type: for_each, items: [1, 2, 3], as: x, concurrency: 1, do: [
      {{id: mark, type: set, vars: {{last: "{{{{ x }}}}"}}}},
      {{id: check, type: fail, if: "x == 2 && !has(input.ok)", message: "2 is bad"}}]}}
on_failure: [{{id: tell, type: set, vars: {{told: true}}}}]
""")
    letter = await dead(api, name)
    assert letter["step_path"] == "each[1].check"
    path = f"{LETTERS}/{letter['id']}/redrive"
    seen = (await api.post(path, json={"preview": True})).json()
    assert (seen["points"], seen["kept"]) == (["books"], ["free"])
    done = await redrive(api, letter["id"], input={"ok": True})
    ended = await until_status(api, done["run_id"], "completed")
    # `vars` are not undone: compensations and what a failed run does after it set them.
    assert ended["output"]["free"] == letter["run_id"]
    assert ended["output"]["booked"] == done["run_id"]
    assert ended["output"]["last"] == 3


async def test_finished_items_and_branches_of_a_loop_stay(
    api: AsyncClient, publish: Publish
) -> None:
    name = await publish("""
name: {name}
input: {{type: object, properties: {{n: {{type: integer}}, ok: {{type: boolean}}}}}}
output: "{{{{ steps.each.output }}}}"
steps:
  - {{id: each, type: for_each, items: [0, 1, 2, 3], as: x, concurrency: 1, do: [
      {{id: check, type: fail, if: "x == 2 && !has(input.ok)", message: "2 is bad"}},
      {{id: mark, type: set, vars: {{by: "{{{{ run.id }}}}"}}}}]}}
""")
    letter = await dead(api, name)
    done = await redrive(api, letter["id"], input={"ok": True})
    ended = await until_status(api, done["run_id"], "completed")
    old, new = {"by": letter["run_id"]}, {"by": done["run_id"]}
    assert ended["output"] == [old, old, new, new]


async def test_fifty_at_once_are_one(
    api: AsyncClient, publish: Publish, database: Database, long: bool
) -> None:
    letters, people = (20, 50) if long else (5, 20)
    name = await publish("name: {name}\nsteps: [{{id: boom, type: fail, message: no}}]\n")
    found = [await dead(api, name, {}) for _ in range(letters)]
    assert len({letter["fingerprint"] for letter in found}) == 1
    answers: Counter[int] = Counter()
    new_runs: set[str] = set()
    for letter in found:
        path = f"{LETTERS}/{letter['id']}/redrive"
        many = await asyncio.gather(*(api.post(path, json={}) for _ in range(people)))
        answers.update(answer.status_code for answer in many)
        new_runs |= {answer.json()["run_id"] for answer in many if answer.status_code == 202}
    assert answers == {202: letters, 409: letters * (people - 1)}
    assert len(new_runs) == letters
    listed = (await api.get("/api/v1/runs", params={"definition": name, "limit": 200})).json()
    assert len(listed["items"]) == 2 * letters
    for run_id in new_runs:
        await until_status(api, run_id, "failed")
    async with database.session() as session:
        rows = (await session.exec(select(DeadLetter).where(DeadLetter.definition == name))).all()
    assert Counter(row.state.value for row in rows) == {"redriven": letters, "open": letters}
    figures(
        "T14 re-drives at once",
        dead_letters=letters,
        people_for_each=people,
        runs=len(new_runs),
        conflicts=answers[409],
    )


async def test_groups_filters_and_discard(api: AsyncClient, publish: Publish) -> None:
    text = (
        "name: {name}\nsteps: [{{id: boom, type: fail, message: 'item {{{{ run.id }}}} is no'}}]\n"
    )
    name = await publish(text)
    found = [await dead(api, name, {}) for _ in range(3)]
    groups = await api.get(f"{LETTERS}/groups", params={"definition": name, "state": "open"})
    (group,) = groups.json()["items"]
    assert (group["count"], group["sample"]["id"]) == (3, found[-1]["id"])
    assert group["first"] == found[0]["created_at"]

    wanted = {"fingerprint": group["fingerprint"], "limit": 2}
    page = (await api.get(LETTERS, params=wanted)).json()
    assert [item["id"] for item in page["items"]] == [found[2]["id"], found[1]["id"]]
    rest = await api.get(LETTERS, params={**wanted, "cursor": page["next_cursor"]})
    assert [item["id"] for item in rest.json()["items"]] == [found[0]["id"]]

    path = f"{LETTERS}/{found[0]['id']}"
    given = (await api.post(f"{path}/discard", json={"reason": "a test order"})).json()
    assert (given["state"], given["reason"]) == ("discarded", "a test order")
    for deed, body in (("discard", {"reason": "again"}), ("redrive", {})):
        answer = await api.post(f"{path}/{deed}", json=body)
        assert "discarded" in assert_problem(answer, 409, "CONFLICT")["detail"]
    assert_problem(await api.get(f"{LETTERS}/nothing"), 404, "NOT_FOUND")


async def test_only_the_top_run_of_several(api: AsyncClient, publish: Publish) -> None:
    inner = await publish("name: {name}\nsteps: [{{id: boom, type: fail, message: no}}]\n")
    outer = await publish(
        f"name: {{name}}\nsteps: [{{{{id: sub, type: workflow, definition: {inner}}}}}]\n"
    )
    letter = await dead(api, outer, {})
    assert (letter["definition"], letter["step_path"]) == (outer, "sub")
    below = await api.get(LETTERS, params={"definition": inner})
    assert below.json()["items"] == []


async def test_a_parked_send_goes_with_its_run(
    api: AsyncClient, publish: Publish, database: Database
) -> None:
    name = await publish("name: {name}\nsteps: [{{id: boom, type: fail, message: no}}]\n")
    letter = await dead(api, name, {})
    mail = MailMessage(
        workspace="default",
        step_key=f"{letter['run_id']}:boom",
        run_id=letter["run_id"],
        definition=name,
        step_path="boom",
        to_address="ada@example.com",
        message_id=f"<{letter['run_id']}@example.com>",
        state=MailState.UNKNOWN,
    )
    error = ErrorInfo(code=ErrorCode.DELIVERY_UNKNOWN, message="the server went away")
    async with database.session() as session:
        session.add(mail)
        for _ in range(2):
            await parked_sends.park(session, mail, error)
    items = (await api.get(LETTERS, params={"run": letter["run_id"]})).json()["items"]
    assert sorted(item["kind"] for item in items) == ["run", "send"]
    both = await asyncio.gather(
        *(api.post(f"{LETTERS}/{item['id']}/redrive", json={}) for item in items)
    )
    assert sorted(answer.status_code for answer in both) == [202, 409]
    later = await asyncio.gather(
        *(api.post(f"{LETTERS}/{item['id']}/redrive", json={}) for item in items)
    )
    assert [answer.status_code for answer in later] == [409, 409]
