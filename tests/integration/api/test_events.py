"""A run's events: in order, live, and resumable."""

import asyncio
import json
from typing import Any

from httpx2 import AsyncClient
from temporalio.worker import Worker

from tests.integration.api.conftest import Publish, start, until_status

JOURNEY = [
    ("run_started", None),
    ("step_started", "more"),
    ("step_completed", "more"),
    ("step_started", "go"),
    ("step_waiting", "go"),
    ("run_paused", None),
    ("run_resumed", None),
    ("signal_received", None),
    ("step_completed", "go"),
    ("run_completed", None),
]


def parse(text: str) -> list[dict[str, Any]]:
    """The events of a whole stream."""
    found = []
    for block in text.split("\n\n"):
        lines = [line.partition(": ") for line in block.splitlines() if not line.startswith(":")]
        event = {name: value for name, _, value in lines}
        if "data" in event:
            found.append({**event, "data": json.loads(event["data"])})
    return found


async def finished(api: AsyncClient, publish: Publish) -> str:
    """A run that was paused, resumed and signalled; gives its id."""
    run_id = await start(api, await publish())
    await until_status(api, run_id, "waiting")
    await api.post(f"/api/v1/runs/{run_id}/pause")
    await until_status(api, run_id, "paused")
    await api.post(f"/api/v1/runs/{run_id}/resume")
    await until_status(api, run_id, "waiting")
    await api.post(f"/api/v1/runs/{run_id}/signals/go", json={"data": 1})
    await until_status(api, run_id, "completed")
    return run_id


async def test_order_and_resumption(api: AsyncClient, publish: Publish, worker: Worker) -> None:
    run_id = await finished(api, publish)
    answer = await api.get(f"/api/v1/runs/{run_id}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = parse(answer.text)
    assert [(event["event"], event["data"].get("step")) for event in events] == JOURNEY
    assert len({event["id"] for event in events}) == len(events)
    assert all(event["data"]["at"] for event in events)
    for seen in (0, 4, len(events) - 1):
        answer = await api.get(
            f"/api/v1/runs/{run_id}/events", headers={"Last-Event-ID": events[seen]["id"]}
        )
        assert parse(answer.text) == events[seen + 1 :]
    # An id that is not ours starts from the beginning.
    answer = await api.get(f"/api/v1/runs/{run_id}/events", headers={"Last-Event-ID": "odd"})
    assert parse(answer.text) == events


async def test_live_and_closed_by_the_end(
    api: AsyncClient, publish: Publish, worker: Worker
) -> None:
    run_id = await start(api, await publish())
    following = asyncio.create_task(api.get(f"/api/v1/runs/{run_id}/events"))
    await until_status(api, run_id, "waiting")
    assert not following.done()
    await api.post(f"/api/v1/runs/{run_id}/cancel")
    async with asyncio.timeout(180):
        events = parse((await following).text)
    assert events[-1]["event"] == "run_cancelled"


async def test_failure(api: AsyncClient, publish: Publish, worker: Worker) -> None:
    text = "name: {name}\nsteps:\n  - {{id: end, type: fail, code: TOO_BAD, message: it is}}\n"
    run_id = await start(api, await publish(text))
    run = await until_status(api, run_id, "failed")
    assert run["error"]["code"] == "TOO_BAD"
    events = parse((await api.get(f"/api/v1/runs/{run_id}/events")).text)
    assert events[-1]["event"] == "run_failed"
    assert events[-1]["data"]["error"]["code"] == "TOO_BAD"


async def test_streams_hold_no_connection(
    api: AsyncClient, publish: Publish, worker: Worker
) -> None:
    run_id = await start(api, await publish())
    streams = [asyncio.create_task(api.get(f"/api/v1/runs/{run_id}/events")) for _ in range(15)]
    await until_status(api, run_id, "waiting")
    # The pool has ten connections: were one held by each stream, this would be a 503.
    assert (await api.get("/api/v1/runs")).status_code == 200
    await api.post(f"/api/v1/runs/{run_id}/cancel")
    async with asyncio.timeout(180):
        answers = await asyncio.gather(*streams)
    assert all(parse(answer.text)[-1]["event"] == "run_cancelled" for answer in answers)


async def test_steps_between_actions_are_told_in_the_order_in_which_they_ran(
    api: AsyncClient, publish: Publish, worker: Worker
) -> None:
    text = "name: {name}\nsteps:\n" + "".join(
        f"  - {{{{id: s{n}, type: set, vars: {{{{x: {n}}}}}}}}}\n" for n in range(5)
    )
    run_id = await start(api, await publish(text))
    await until_status(api, run_id, "completed")
    events = parse((await api.get(f"/api/v1/runs/{run_id}/events")).text)
    told = [event["data"]["step"] for event in events if event["event"] == "step_completed"]
    assert told == [f"s{n}" for n in range(5)]
    assert events[-1]["event"] == "run_completed"
