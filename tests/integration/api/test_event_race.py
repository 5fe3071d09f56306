"""Events around the registration of their waits, through the API, PostgreSQL and Temporal."""

import asyncio
import random
import zlib
from collections import Counter
from typing import Any

import pytest
from httpx2 import AsyncClient
from temporalio.worker import Worker

from db import runs
from db.engine import Database
from db.ids import new_id
from schemas.actions import Catalogue
from schemas.run import REVISION, RunStart, RunState
from schemas.validation import load_definition
from tests.integration.api.conftest import Publish, a_name, start
from workflows.gateway import Gateway

EVENTS = "/api/v1/events"
SEED = 20261121
# Runs, and the waits of each; events to one run: in the short form and in the long one.
SIZES = ((5, 50), (10, 100))
STREAMED = (150, 500)
# One wait after the other, each for a key of its own: their events come at any time of the run.
MANY = """
name: {{name}}
input: {{{{type: object, properties: {{{{keys: {{{{type: array}}}}}}}}}}}}
output: "{{{{{{{{ steps.each.output }}}}}}}}"
steps:
  - id: each
    type: for_each
    items: "{{{{{{{{ input.keys }}}}}}}}"
    concurrency: {concurrency}
    do: [{{{{id: w, type: wait, event: race.over, key: "{{{{{{{{ item }}}}}}}}"}}}}]
"""
# One wait after the other for one key, over many executions.
STREAM = """
name: {name}
input: {{type: object, properties: {{key: {{type: string}}, count: {{type: integer}}}}}}
output: "{{{{ vars.seen }}}}"
steps:
  - {{id: begin, type: set, vars: {{seen: []}}}}
  - id: loop
    type: repeat
    while: size(vars.seen) < input.count
    max: 500
    do:
      - {{id: w, type: wait, event: race.step, key: "{{{{ input.key }}}}"}}
      - {{id: keep, type: set, vars: {{seen: "{{{{ vars.seen + [steps.w.output] }}}}"}}}}
"""


async def post(api: AsyncClient, kind: str, key: str, data: Any) -> str:
    """Publish an event, twice every now and then; gives whether the run was waiting for it."""
    body = {"type": kind, "key": key, "data": data, "id": f"{key}/{data}"}
    answer = await api.post(EVENTS, json=body)
    assert answer.status_code == 202, answer.text
    if zlib.crc32(body["id"].encode()) % 10 == 0:
        assert (await api.post(EVENTS, json=body)).json()["duplicate"]
    return "signal" if answer.json()["matched"] else "store"


async def ended(api: AsyncClient, run_id: str) -> dict[str, Any]:
    """Wait for a run's end."""
    async with asyncio.timeout(90):
        while True:
            detail = (await api.get(f"/api/v1/runs/{run_id}")).json()
            if detail["finished_at"] is not None:
                return detail
            await asyncio.sleep(0.2)


@pytest.mark.parametrize("seed", [SEED])
async def test_events_around_their_waits(
    api: AsyncClient, publish: Publish, worker: Worker, seed: int, long: bool
) -> None:
    count, waits = SIZES[long]
    chance = random.Random(seed)
    name = await publish(MANY.format(concurrency=10))
    keys = [[f"{name}-{run}-{n}" for n in range(waits)] for run in range(count)]
    ways: Counter[str] = Counter()
    slots = asyncio.Semaphore(8)

    async def tell(key: str, delay: float) -> None:
        await asyncio.sleep(delay)
        async with slots:
            ways[await post(api, "race.over", key, key)] += 1

    run_ids = [await start(api, name, {"keys": mine}) for mine in keys]
    # Within each run in another order than it waits in: some come long before, some long after.
    calls = [tell(key, chance.uniform(0, waits / 12)) for mine in keys for key in mine]
    await asyncio.gather(*calls)
    for run_id, mine in zip(run_ids, keys, strict=True):
        detail = await ended(api, run_id)
        # Each wait got its own event, and so none was lost and none came twice.
        assert detail["output"] == mine
    print(f"\n{sum(ways.values())} events: {dict(ways)}")  # noqa: T201 - figures for the log
    assert sum(ways.values()) == count * waits
    assert min(ways["signal"], ways["store"]) > count * waits / 20


async def test_events_to_one_run_that_continues_as_new(
    api: AsyncClient,
    worker: Worker,
    database: Database,
    gateway: Gateway,
    catalogue: Catalogue,
    long: bool,
) -> None:
    name, run_id = a_name(), new_id()
    count = STREAMED[long]
    given = {"key": name, "count": count}
    async with database.session() as session:
        await runs.insert_queued(
            session, "default", run_id=run_id, definition=name, version=1, input=given
        )
    begin = RunStart(
        run_id=run_id,
        workspace="default",
        definition=load_definition(STREAM.format(name=name), catalogue),
        version=1,
        input=given,
        history_limit=200 if long else 80,
        revision=REVISION,
    )
    await gateway.start(begin)
    slots = asyncio.Semaphore(8)

    async def tell(number: int) -> None:
        async with slots:
            await post(api, "race.step", name, number)

    await asyncio.gather(*(tell(number) for number in range(count)))
    detail = await ended(api, run_id)
    assert detail["status"] == "completed", detail["error"]
    assert sorted(detail["output"]) == list(range(count))
    state: RunState = await gateway.state(begin.workflow_id, deadline=10)
    assert state.generation >= 3
    assert len(state.inbox) == 0
    # What tells an event that was taken from a new one stays small.
    assert len(state.taken) < 20
