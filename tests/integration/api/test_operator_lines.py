"""What people do to runs, one by one and in bulk, is in the logs of those runs."""

import asyncio
from typing import Any

import pytest
from httpx2 import AsyncClient

from tests.integration.api.conftest import Publish, start, until_status
from tests.integration.api.test_bulk import HELD, WAITS, ordered
from tests.integration.api.test_dead_letters import FRAGILE, LETTERS, dead, outbox, redrive

pytestmark = pytest.mark.usefixtures("worker")
__all__ = ["outbox"]
PRINTS = """
name: {name}
steps:
  - id: sums
    type: code
    on_error: continue
    with: {{source: "print('before token=hush-hush')\\nraise ValueError('too much')"}}
  - id: loops
    type: code
    on_error: continue
    with: {{source: "print('round')\\nwhile True: pass", time_limit: 300ms}}
"""


async def lines_of(
    api: AsyncClient, run_id: str, source: str = "operator", count: int = 1
) -> list[dict[str, Any]]:
    """Wait for so many lines of a source in a run's log."""
    async with asyncio.timeout(120):
        while True:
            lines = (await api.get(f"/api/v1/runs/{run_id}/logs")).json()["items"]
            found = [line for line in lines if line["source"] == source]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.05)


def said(line: dict[str, Any]) -> tuple[str, str]:
    """What was done, and by whom."""
    action, by, actor = line["message"].partition(" by ")
    assert by, line
    return action, actor


async def test_bulk_actions(api: AsyncClient, publish: Publish) -> None:
    name = await publish(WAITS)
    run_id = await start(api, name, {})
    await until_status(api, run_id, "waiting")
    newer = await api.post(
        f"/api/v1/definitions/{name}/versions",
        params={"publish": True},
        content=(WAITS + "title: newer\n").format(name=name),
        headers={"content-type": "application/yaml"},
    )
    assert newer.status_code == 201, newer.text
    jobs = [
        await ordered(api, {"action": action, "ids": [run_id], **more})
        for action, more in (
            ("pause", {}),
            ("resume", {}),
            ("migrate", {"version": 2}),
            ("cancel", {}),
        )
    ]
    lines = await lines_of(api, run_id, count=4)
    assert [said(line) for line in lines] == [
        (f"run.{job['action']}", f"bulk:{job['id']}") for job in jobs
    ]
    assert lines[2]["metadata"]["version"] == 2


async def test_held_steps_that_a_bulk_job_tries_again(api: AsyncClient, publish: Publish) -> None:
    run_id = await start(api, await publish(HELD), {})
    await until_status(api, run_id, "paused")
    job = await ordered(api, {"action": "retry", "ids": [run_id]})
    [line] = await lines_of(api, run_id)
    assert said(line) == ("run.retry", f"bulk:{job['id']}")
    assert line["metadata"]["steps"] == ["boom"]
    # One by one it is the step's own line.
    async with asyncio.timeout(120):
        while True:
            answer = await api.post(f"/api/v1/runs/{run_id}/steps/boom/skip", json={"by": "ada"})
            if answer.status_code == 200:
                break
            assert answer.status_code == 409, answer.text
            await asyncio.sleep(0.05)
    *_, line = await lines_of(api, run_id, count=2)
    assert (line["step"], said(line)) == ("boom", ("step.skip", "ada"))


async def test_a_migration(api: AsyncClient, publish: Publish) -> None:
    name = await publish(WAITS)
    run_id = await start(api, name, {})
    await until_status(api, run_id, "waiting")
    await api.post(
        f"/api/v1/definitions/{name}/versions",
        params={"publish": True},
        content=(WAITS + "title: newer\n").format(name=name),
        headers={"content-type": "application/yaml"},
    )
    answer = await api.post(f"/api/v1/runs/{run_id}/migrate", json={"version": 2, "confirm": True})
    assert answer.json()["migrated"], answer.text
    [line] = await lines_of(api, run_id)
    assert said(line)[0] == "run.migrate"
    assert (line["metadata"]["from"], line["metadata"]["to"]) == (1, 2)
    await api.post(f"/api/v1/runs/{run_id}/cancel")


async def test_dead_letters_tried_again_and_given_up(
    api: AsyncClient, publish: Publish, outbox: object
) -> None:
    name = await publish(FRAGILE)
    letter = await dead(api, name)
    done = await redrive(api, letter["id"], input={"n": 1, "ok": True}, **{"from": "start"})
    [old] = await lines_of(api, letter["run_id"])
    [new] = await lines_of(api, done["run_id"])
    assert said(old)[0] == said(new)[0] == "dead_letter.redrive"
    assert old["metadata"]["run_id"] == done["run_id"]
    assert new["metadata"]["redrive_of"] == letter["run_id"]

    other = await dead(api, name)
    gone = await api.post(f"{LETTERS}/{other['id']}/discard", json={"reason": "of no use"})
    assert gone.status_code == 200, gone.text
    [line] = await lines_of(api, other["run_id"])
    assert said(line)[0] == "dead_letter.discard"
    assert line["metadata"]["reason"] == "of no use"


async def test_what_a_failing_program_printed(api: AsyncClient, publish: Publish) -> None:
    run_id = await start(api, await publish(PRINTS), {})
    await until_status(api, run_id, "completed")
    lines = await lines_of(api, run_id, source="code", count=2)
    shown = {(line["step"], line["message"]) for line in lines}
    assert shown == {("sums", "before token=***"), ("loops", "round")}
