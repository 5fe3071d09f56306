"""Start latency: the API beside `client.start_workflow` and the database commit, one at a time.

No worker polls the task queues used here, so that nothing runs but the starts.
"""

import asyncio
import secrets
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from statistics import median, quantiles

import httpx2

from benchmarks.cases import run_input
from benchmarks.handwritten import Order
from benchmarks.stack import Stack
from db import audit, idempotency, runs
from db.ids import new_id
from dev.ports import HOST, any_port

_DEFINITION = """\
name: start-latency
input: {type: object, properties: {budget: {type: integer}, url: {type: string}}}
steps:
  - {id: only, type: condition, if: 'input.budget >= 1000'}
"""
_QUEUE = "latency"
_WARM_UP = 20


@dataclass
class Latency:
    """Times in ms of each way to start, in the order in which they were taken."""

    api: list[float] = field(default_factory=list)
    start_workflow: list[float] = field(default_factory=list)
    commit: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """The API's p50 by the sum of the p50 of the start and of the commit."""
        return median(self.api) / (median(self.start_workflow) + median(self.commit))


def p95(times: list[float]) -> float:
    """Give the 95th percentile."""
    return quantiles(times, n=20, method="inclusive")[18]


class Starting:
    """The three ways to start."""

    def __init__(self, stack: Stack, http: httpx2.AsyncClient) -> None:
        self._stack = stack
        self._http = http
        self._input = run_input(stack.target_url)
        self._order = Order.model_validate(self._input)

    async def api(self) -> None:
        """Start over HTTP, with an idempotency key as a careful client does."""
        answer = await self._http.post(
            "/api/v1/definitions/start-latency/runs",
            json={"input": self._input},
            headers={"Idempotency-Key": str(uuid.uuid4())},
        )
        if answer.status_code != 201:
            raise AssertionError(f"{answer.status_code}: {answer.text}")

    async def start_workflow(self) -> None:
        """Start a hand-written workflow through the SDK."""
        await self._stack.client.start_workflow(
            "HandwrittenConditions", self._order, id=str(uuid.uuid4()), task_queue=_QUEUE
        )

    async def commit(self) -> None:
        """Commit the rows that the API commits before it tells Temporal."""
        run_id = new_id()
        key = str(uuid.uuid4())
        async with self._stack.database.session() as session:
            await idempotency.claim(
                session, "default", key, idempotency.fingerprint("run", key), run_id
            )
            audit.add(session, "default", actor="api_key", action="run.start", subject=run_id)
            await runs.insert_queued(
                session,
                "default",
                run_id=run_id,
                definition="not-started",
                version=1,
                input=self._input,
            )


async def _timed(call: Callable[[], Awaitable[None]]) -> float:
    began = time.perf_counter()
    await call()
    return (time.perf_counter() - began) * 1e3


async def measure(stack: Stack, count: int) -> Latency:
    """Take `count` times of each, in turns, against a real server process."""
    port, key = any_port(), secrets.token_urlsafe(24)
    server = stack.spawn(
        "server",
        SOJOURN_PORT=str(port),
        SOJOURN_API_KEY=key,
        SOJOURN_TASK_QUEUE=_QUEUE,
    )
    await asyncio.to_thread(server.wait_until, lambda: server.listens_on(port))
    found = Latency()
    async with httpx2.AsyncClient(
        base_url=f"http://{HOST}:{port}",
        headers={"authorization": f"Bearer {key}"},
        trust_env=False,
        timeout=30.0,
    ) as http:
        answer = await http.post(
            "/api/v1/definitions?publish=true",
            content=_DEFINITION,
            headers={"content-type": "application/yaml"},
        )
        if answer.status_code != 201:
            raise AssertionError(f"{answer.status_code}: {answer.text}")
        starting = Starting(stack, http)
        for number in range(_WARM_UP + count):
            times = [
                await _timed(call)
                for call in (starting.api, starting.start_workflow, starting.commit)
            ]
            if number >= _WARM_UP:
                for kept, one in zip(
                    (found.api, found.start_workflow, found.commit), times, strict=True
                ):
                    kept.append(one)
    stack.stop(server)
    return found
