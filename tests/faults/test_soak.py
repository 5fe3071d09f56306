"""Half an hour of starts with a kill a minute: nothing is lost, and nothing grows.

Only with SOJOURN_SOAK=1; SOJOURN_SOAK_MINUTES makes it shorter.
"""

import asyncio
import logging
import os
import random
import time
from statistics import linear_regression

import asyncpg
import psutil
import pytest

from schemas.run import RunStatus
from tests.faults.evidence import figures
from tests.faults.killer import Killer
from tests.faults.mixture import Mixture
from tests.faults.stand import Stand
from tests.servers.ai_server import AiServer
from tests.servers.effect_sink import EffectSink

_log = logging.getLogger("sojourn.faults")
_PER_SECOND = 5
_KILL_EVERY = 60.0  # seconds
_WARM_UP = 120.0  # seconds, in which caches fill
_SLOPE = 5.0  # MiB in ten minutes
_CONNECTIONS = 60  # three pools of the processes, and the test's own


async def test_half_an_hour_of_starts_and_kills(stand: Stand, seed: int) -> None:
    if os.environ.get("SOJOURN_SOAK") != "1":
        pytest.skip("set SOJOURN_SOAK=1")
    minutes = float(os.environ.get("SOJOURN_SOAK_MINUTES", "30"))
    assert stand.api_process is not None
    api = psutil.Process(stand.api_process.pid)
    memory: list[tuple[float, float]] = []
    connections, queued = 0, []
    store = await asyncpg.connect(stand.postgres.url("sojourn"))
    async with EffectSink() as sink, AiServer(text="warm", delay=0.1) as ai:
        mixture = Mixture(stand, sink, ai, prefix="soak")
        await mixture.publish()
        async with Killer(stand, mixture, random.Random(seed)) as killer:
            await killer.first()
            began = time.monotonic()
            killed = began
            while (passed := time.monotonic() - began) < minutes * 60:
                await mixture.start(_PER_SECOND)
                if time.monotonic() - killed >= _KILL_EVERY:
                    killed = time.monotonic()
                    await killer.kill()
                memory.append((passed, api.memory_info().rss / 2**20))
                used = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'sojourn'"
                connections = max(connections, await store.fetchval(used))
                waiting = "SELECT count(*) FROM runs WHERE status = $1"
                queued.append(await store.fetchval(waiting, RunStatus.QUEUED.value))
                due = began + len(mixture.started) / _PER_SECOND
                await asyncio.sleep(max(0.0, due - time.monotonic()))
            await mixture.ended(300)
        await mixture.check()
    await store.close()
    warm = [(at, size) for at, size in memory if at >= min(_WARM_UP, minutes * 20)]
    slope = linear_regression(*zip(*warm, strict=True)).slope * 600
    said = {
        "minutes": minutes,
        "runs": len(mixture.started),
        "kills": len(killer.kills),
        "lost": 0,
        "api_mib_per_10_min": round(slope, 1),
        "connections_at_most": connections,
        "queued_at_the_end": queued[-1],
        "seed": seed,
    }
    figures("T23 soak", **said)
    _log.warning("%s", said)
    assert slope < _SLOPE
    assert connections <= _CONNECTIONS
    assert queued[-1] <= 2 * _PER_SECOND
