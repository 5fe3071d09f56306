"""Operators and assignees through the API: held steps, vars, rewind, approvals, audit."""

import asyncio
from typing import Any
from urllib.parse import quote

from httpx2 import AsyncClient
from sqlmodel import col, select
from temporalio.worker import Worker

from db.audit import AuditEntry
from db.engine import Database
from tests.integration.test_control import begin, steps, until

HELD = """
name: {name}
steps:
  - {{id: fails, type: set, vars: {{zero: 0}}}}
  - id: each
    type: for_each
    items: [1]
    do: [{{id: half, type: set, on_error: pause, vars: {{half: "{{{{ item / vars.zero }}}}"}}}}]
  - {{id: nap, type: wait, signal: go}}
output: {{half: "{{{{ vars.half }}}}"}}
"""
ASK = """
name: {name}
steps:
  - id: ask
    type: approval
    assignees: ["{who}", bob@example.com]
    description: A discount
    approvals: 2
    form: {{type: object, required: [percent], properties: {{percent: {{type: integer}}}}}}
output: "{{{{ steps.ask.output }}}}"
"""
PATH = quote("each[0].half", safe="")


async def audit(database: Database, run: str) -> list[str]:
    async with database.session() as session:
        found = await session.exec(
            select(AuditEntry).where(AuditEntry.subject == run).order_by(col(AuditEntry.seq))
        )
        return [entry.action for entry in found.all()]


async def test_a_held_step_is_retried_after_its_vars_were_changed(
    api: AsyncClient, worker: Worker, database: Database
) -> None:
    run = await begin(api, HELD)
    here = f"/api/v1/runs/{run}"
    await until(api, run, "paused")
    unknown = await api.post(f"{here}/steps/nope/retry")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "NOT_FOUND")
    refused = await api.post(f"{here}/steps/{PATH}/retry", json={"input": {"x": 1}})
    assert (refused.status_code, refused.json()["code"]) == (422, "INVALID_INPUT")
    changed = await api.patch(f"{here}/vars", json={"vars": {"zero": 1}, "by": "ada"})
    assert changed.status_code == 200, changed.text
    retried = await api.post(f"{here}/steps/{PATH}/retry", json={"by": "ada"})
    assert retried.status_code == 200, retried.text
    await until(api, run, "waiting")
    late = await api.post(f"{here}/steps/{PATH}/skip", json={"output": 1})
    assert (late.status_code, late.json()["code"]) == (409, "CONFLICT")
    early = await api.patch(f"{here}/vars", json={"vars": {"zero": 1}})
    assert (early.status_code, early.json()["code"]) == (409, "CONFLICT")
    back = await api.post(f"{here}/rewind", json={"path": "each[0].half"})
    assert back.status_code == 200, back.text
    await api.post(f"{here}/signals/go", json={"data": None})
    found = await until(api, run, "completed")
    assert found["output"] == {"half": 1}
    gone = await api.post(f"{here}/steps/{PATH}/abort")
    assert (gone.status_code, gone.json()["code"]) == (409, "CONFLICT")
    assert await audit(database, run) == [
        *("run.start", "run.set_vars", "step.retry", "run.rewind", "run.signal")
    ]


async def test_abort_fails_the_run(api: AsyncClient, worker: Worker) -> None:
    run = await begin(api, HELD)
    await until(api, run, "paused")
    aborted = await api.post(f"/api/v1/runs/{run}/steps/{PATH}/abort", json={"by": "ada"})
    assert aborted.status_code == 200, aborted.text
    assert (await until(api, run, "failed"))["error"]["code"] == "EXPRESSION_ERROR"
    assert (await steps(api, run))["each[0].half"] == "failed"


async def open_for(api: AsyncClient, who: str) -> list[dict[str, Any]]:
    found = (await api.get("/api/v1/approvals", params={"assignee": who})).json()
    return found["items"]


async def test_an_approval_is_listed_answered_and_closed(
    api: AsyncClient, worker: Worker, database: Database
) -> None:
    runs = [await begin(api, ASK, who=f"ada{number}@example.com") for number in range(2)]
    for run in runs:
        await until(api, run, "waiting")
    async with asyncio.timeout(180):
        while len(await open_for(api, "bob@example.com")) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    first = await api.get("/api/v1/approvals", params={"limit": 1})
    rest = await api.get(
        "/api/v1/approvals", params={"limit": 50, "cursor": first.json()["next_cursor"]}
    )
    shown = [found["run_id"] for found in first.json()["items"] + rest.json()["items"]]
    assert sorted(set(shown) & set(runs)) == sorted(runs)
    assert len(shown) == len(set(shown))
    [mine] = await open_for(api, "ada1@example.com")
    assert (mine["run_id"], mine["path"], mine["description"]) == (runs[1], "ask", "A discount")
    address = f"/api/v1/runs/{runs[1]}/approvals/ask"
    yes = {"decision": "approved", "data": {"percent": 5}}
    stranger = await api.post(address, json={**yes, "by": "eve@example.com"})
    assert (stranger.status_code, stranger.json()["code"]) == (403, "FORBIDDEN")
    wrong = await api.post(
        address, json={"decision": "approved", "data": {"percent": "x"}, "by": "bob@example.com"}
    )
    assert wrong.status_code == 422
    assert wrong.json()["problems"][0]["path"] == "percent"
    assert (await api.post(address, json={**yes, "by": "bob@example.com"})).status_code == 200
    twice = await api.post(address, json={**yes, "by": "bob@example.com"})
    assert (twice.status_code, twice.json()["code"]) == (409, "CONFLICT")
    assert (await open_for(api, "ada1@example.com"))[0]["note"].startswith("1 of 2 approved")
    assert (await api.post(address, json={**yes, "by": "ada1@example.com"})).status_code == 200
    output = (await until(api, runs[1], "completed"))["output"]
    assert (output["decision"], output["by"]) == ("approved", "ada1@example.com")
    assert [answer["by"] for answer in output["answers"]] == ["bob@example.com", "ada1@example.com"]
    assert await open_for(api, "ada1@example.com") == []
    closed = await api.get("/api/v1/approvals", params={"status": "completed"})
    assert runs[1] in [found["run_id"] for found in closed.json()["items"]]
    assert await audit(database, runs[1]) == ["run.start", "approval.answer", "approval.answer"]
