"""PostgreSQL stops without a checkpoint while workers are killed."""

import asyncio
import logging
import random
import time

import pytest

from tests.faults.evidence import figures
from tests.faults.killer import Killer
from tests.faults.mixture import Mixture
from tests.faults.stand import Stand, until
from tests.faults.test_server_crashes import check_problem
from tests.servers.ai_server import AiServer
from tests.servers.effect_sink import EffectSink

_log = logging.getLogger("sojourn.faults")
_HEALED = 30.0  # seconds


async def test_postgres_stops_while_workers_are_killed(stand: Stand, seed: int, long: bool) -> None:
    if not long:
        pytest.skip("the short form is in test_server_crashes.py")
    rounds, runs, longest, deadline = 10, 500, 20.0, 600.0
    chance = random.Random(seed)
    refused = 0
    async with EffectSink() as sink, AiServer(text="warm", delay=0.1) as ai:
        mixture = Mixture(stand, sink, ai, prefix="stop")
        await mixture.publish()
        async with Killer(stand, mixture, chance) as killer:
            await killer.first()
            for number in range(rounds):
                await mixture.start(runs * (number + 1) // rounds - len(mixture.started))
                await stand.crash_postgres()
                killing = asyncio.create_task(killer.kill())
                began = time.monotonic()
                async with stand.api() as api:
                    answer = await api.post(f"/api/v1/definitions/{mixture.names[0]}/runs", json={})
                    check_problem(answer, "DATABASE_UNAVAILABLE")
                    refused += 1
                down = chance.uniform(0, longest)
                await asyncio.sleep(max(0.0, down - (time.monotonic() - began)))
                await stand.restart_postgres()
                await killing

            async def closed() -> bool:
                return await mixture.open() == 0

            await until(closed, "Temporal says that all runs have ended", deadline)
            ended = time.monotonic()
            await mixture.ended(_HEALED)
            behind = time.monotonic() - ended
        await mixture.check()
    assert sum(kill.open_runs > 0 for kill in killer.kills) >= 0.8 * rounds
    said = {
        "runs": runs,
        "stops": rounds,
        "kills": len(killer.kills),
        "lost": 0,
        "failed": 0,
        "refused_with_503": refused,
        "rows_behind_s": round(behind, 1),
        "seed": seed,
    }
    figures("T3 PostgreSQL stopped, workers killed", **said)
    _log.warning("%s", said)
