"""A worker that is killed in a long activity: the next attempt comes with the heartbeats.

Without heartbeats it would come after the activity's timeout, here of five minutes.
"""

import asyncio
import time

import pytest

from tests.faults.evidence import figures
from tests.faults.stand import Stand, until
from tests.servers.wire import Received, WireServer, respond

TIMEOUT = 300
HEARTBEAT = 10
CALL = """
name: lost-worker
steps:
  - {{id: call, type: http, timeout: {timeout}s, with: {{method: POST, url: "{url}", json: 1}}}}
"""
ALLOWED = {
    "SOJOURN_HTTP_ALLOW_CIDRS": "127.0.0.0/8",
    "SOJOURN_TIMESCALE": "1",
}


async def test_the_next_attempt_comes_within_three_heartbeats(stand: Stand, long: bool) -> None:
    if not long:
        pytest.skip("the long form waits for lost heartbeats")
    at: list[float] = []

    async def answer(request: Received, writer: asyncio.StreamWriter) -> None:
        at.append(time.monotonic())
        if len(at) == 1:
            await asyncio.Event().wait()
        respond(writer, 200, b"{}", {"content-type": "application/json"})

    async with WireServer(answer) as server, stand.api() as api:
        settings = {**ALLOWED, "SOJOURN_HTTP_ALLOW_PORTS": str(server.port)}
        await stand.start_worker(**settings)
        text = CALL.format(timeout=TIMEOUT, url=f"http://127.0.0.1:{server.port}/")
        published = await api.post(
            "/api/v1/definitions?publish=true",
            content=text,
            headers={"content-type": "application/yaml"},
        )
        assert published.status_code == 201, published.text
        started = await api.post("/api/v1/definitions/lost-worker/runs", json={"input": {}})
        run_id = started.json()["id"]

        async def called() -> bool:
            return bool(at)

        await until(called, "the call is under way")
        killed = time.monotonic()
        stand.kill_worker()
        await stand.start_worker(**settings)

        async def done() -> bool:
            return (await api.get(f"/api/v1/runs/{run_id}")).json()["status"] == "completed"

        await until(done, "the run has completed", TIMEOUT / 2)
    seconds = at[1] - killed
    assert len(at) == 2
    assert seconds <= 3 * HEARTBEAT
    figures("F8 lost worker", seconds_to_the_next_attempt=round(seconds, 1), timeout=TIMEOUT)
