"""Parked sends of whole runs: held, marked as sent, sent again, skipped, gone their own way."""

import asyncio
from typing import Any

import pytest
from httpx2 import AsyncClient, Response
from temporalio.worker import Worker

from tests.integration.test_control import begin, steps, until
from tests.servers.wire import Received, WireServer, respond

LETTERS = "/api/v1/dead-letters"
ORDER = """
name: {name}
steps:
  - id: order
    type: http
    delivery: at_most_once
    {more}
    retry: {{attempts: 3, initial: 50ms, jitter: false}}
    with: {{method: POST, url: "{url}/orders", json: {{n: 1}}}}
    compensate: [{{id: undo, type: http, with: {{method: DELETE, url: "{url}/orders/1"}}}}]
  - {{id: after, type: set, vars: {{status: "{{{{ steps.order.output.status }}}}"}}}}
output: {{status: "{{{{ vars.status }}}}"}}
"""


class Shop:
    """Takes the first order and loses the line, or answers 503 before that; others are 201."""

    def __init__(self) -> None:
        self.busy = 0
        self.dropped = 1

    async def __call__(self, request: Received, writer: asyncio.StreamWriter) -> None:
        if self.busy:
            self.busy -= 1
            respond(writer, 503)
        elif self.dropped and request.method == "POST":
            self.dropped -= 1
            writer.close()
        else:
            respond(writer, 201)


async def letter_of(api: AsyncClient, run: str) -> dict[str, Any]:
    found = await api.get(LETTERS, params={"run": run, "kind": "send"})
    (letter,) = found.json()["items"]
    return letter


async def decide(api: AsyncClient, letter: dict[str, Any], what: str, body: Any = None) -> Response:
    return await api.post(f"{LETTERS}/{letter['id']}/{what}", json=body)


def came(server: WireServer) -> list[str]:
    return [request.method for request in server.requests]


async def test_a_parked_order_is_marked_as_sent(api: AsyncClient, worker: Worker) -> None:
    shop = Shop()
    shop.busy = 2
    async with WireServer(shop) as server:
        run = await begin(api, ORDER, url=server.url, more="")
        held = await until(api, run, "paused")
        # What was refused before is tried again, and is no part of the doubt.
        assert came(server) == ["POST"] * 3
        keys = {request.headers["idempotency-key"] for request in server.requests}
        assert len(keys) == 1
        (step,) = (await api.get(f"/api/v1/runs/{run}/steps")).json()
        assert (step["status"], step["attempts"]) == ("waiting", 3)
        assert step["error"]["code"] == "DELIVERY_UNKNOWN"
        assert held["error"] is None
        letter = await letter_of(api, run)
        assert (letter["state"], letter["step_path"]) == ("open", "order")
        redriven = await decide(api, letter, "redrive", {})
        assert redriven.status_code == 409
        assert "mark it as sent" in redriven.json()["hint"]
        # Who only tries again finds it in doubt again.
        again = await api.post(f"/api/v1/runs/{run}/steps/order/retry")
        assert again.status_code == 200, again.text
        await until(api, run, "paused")
        done = await decide(api, letter, "mark-sent", {"output": {"status": 201}})
        assert done.status_code == 200, done.text
        assert done.json()["state"] == "resolved"
        found = await until(api, run, "completed")
        assert found["output"] == {"status": 201}
        steps_now = (await api.get(f"/api/v1/runs/{run}/steps")).json()
        output = {one["path"]: one["output"] for one in steps_now}["order"]
        assert output["delivery"] == "marked_sent"
        assert came(server) == ["POST"] * 3
        repeated = await decide(api, letter, "mark-sent")
        assert (repeated.status_code, repeated.json()["status"]) == (200, None)
        other = await decide(api, letter, "resend")
        assert other.status_code == 409
    lines = (await api.get(f"/api/v1/runs/{run}/logs")).json()["items"]
    assert any("dead_letter.mark_sent" in line["message"] for line in lines)


async def test_a_parked_order_is_sent_again_and_parked_again(
    api: AsyncClient, worker: Worker
) -> None:
    shop = Shop()
    shop.dropped = 2
    async with WireServer(shop) as server:
        run = await begin(api, ORDER, url=server.url, more="")
        for sends in (1, 2):
            await until(api, run, "paused")
            letter = await letter_of(api, run)
            assert (letter["state"], letter["redrives"]) == ("open", sends - 1)
            assert len(server.requests) == sends
            answers = await asyncio.gather(*(decide(api, letter, "resend") for _ in range(4)))
            codes = sorted(answer.status_code for answer in answers)
            assert codes[0] == 200
            assert set(codes) <= {200, 409}, [answer.text for answer in answers]
            async with asyncio.timeout(120):
                while len(server.requests) == sends:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        assert (await until(api, run, "completed"))["output"] == {"status": 201}
        assert came(server) == ["POST"] * 3
        assert len({request.headers["idempotency-key"] for request in server.requests}) == 1


@pytest.mark.parametrize(
    ("decision", "status", "methods"),
    [("skip", "failed", ["POST"]), ("abort", "failed", ["POST", "DELETE"])],
)
async def test_who_decides_about_the_step_has_decided_about_the_letter(
    api: AsyncClient, worker: Worker, decision: str, status: str, methods: list[str]
) -> None:
    async with WireServer(Shop()) as server:
        run = await begin(api, ORDER, url=server.url, more="")
        await until(api, run, "paused")
        answer = await api.post(f"/api/v1/runs/{run}/steps/order/{decision}")
        assert answer.status_code == 200, answer.text
        await until(api, run, status)
        letter = await letter_of(api, run)
        assert (letter["state"], letter["reason"][-len(decision) :]) == ("discarded", decision)
        # What may have been done is undone, after an abort; `after` fails on a skipped output.
        assert came(server)[: len(methods)] == methods
        late = await decide(api, letter, "resend")
        assert late.status_code == 409


async def test_a_step_with_its_own_on_error_goes_its_own_way(
    api: AsyncClient, worker: Worker
) -> None:
    async with WireServer(Shop()) as server:
        fallback = "on_error: [{id: plan_b, type: set, vars: {status: 0}}]"
        run = await begin(api, ORDER, url=server.url, more=fallback)
        found = await until(api, run, "completed")
        assert found["output"] == {"status": 0}
        assert (await steps(api, run))["plan_b"] == "completed"
        letter = await letter_of(api, run)
        assert letter["state"] == "open"
        refused = await decide(api, letter, "resend")
        assert (refused.status_code, refused.json()["hint"][:8]) == (409, "re-drive")
        marked = await decide(api, letter, "mark-sent")
        assert marked.json() == {
            "id": letter["id"],
            "state": "resolved",
            "run_id": run,
            "status": None,
        }
