"""Commits and calls of Temporal whose answers are lost: each key still starts exactly one run."""

import asyncio
import logging
import random

from tests.faults.evidence import figures
from tests.faults.stand import Stand
from tests.faults.test_starts import all_completed, insist, publish, rows
from tests.servers.cutting_proxy import CuttingProxy, calls, commits

_log = logging.getLogger("sojourn.faults")
_AT_ONCE = 8


async def test_lost_answers_start_nothing_twice(stand: Stand, seed: int, long: bool) -> None:
    starts, share, deadline = (5000, 0.01, 900.0) if long else (100, 0.04, 60.0)
    chance = random.Random(seed)
    host, _, port = stand.temporal.address.rpartition(":")
    store = CuttingProxy(stand.postgres.port, commits, share, chance)
    engine = CuttingProxy(int(port), calls, share, chance)
    name, careless = "ambiguous", "ambiguous-no-key"
    await publish(stand, name)
    await publish(stand, careless)
    await stand.start_worker()
    stand.kill_api()
    async with store, engine:
        url = stand.postgres.url("sojourn").replace(f":{stand.postgres.port}/", f":{store.port}/")
        where = f"{host}:{engine.port}"
        try:
            await stand.start_api(DATABASE_URL=url, TEMPORAL_ADDRESS=where)
            slots = asyncio.Semaphore(_AT_ONCE)

            async def one(n: int) -> str:
                async with slots:
                    return await insist(stand, name, n, f"ambiguous:{seed}:{n}")

            ids = await asyncio.gather(*(one(n) for n in range(starts)))
            said = {
                "starts": starts,
                "commits": store.requests,
                "commits_lost": store.faults["lost"],
                "commits_executed_unanswered": store.faults["executed"],
                "temporal_calls": engine.requests,
                "calls_lost": engine.faults["lost"],
                "calls_executed_unanswered": engine.faults["executed"],
            }
            assert len(set(ids)) == starts
            store.share = engine.share = 0
            # The control: who tries again without a key starts another run.
            for _ in range(20):
                store.forced.append("executed")
                await insist(stand, careless, 1, None)
                store.forced.clear()
                if len(await rows(stand, careless)) > 1:
                    break
            assert len(await rows(stand, careless)) > 1
        finally:
            stand.kill_api()
            await stand.start_api()
    found = await all_completed(stand, name, starts, deadline)
    assert {run.id for run in found} == set(ids)
    assert min(store.faults["executed"], engine.faults["executed"]) > 0
    figures("T5 answers lost", **said, runs=len(found), double=0, seed=seed)
    _log.warning("%s", said)
