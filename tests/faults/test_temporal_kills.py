"""Temporal killed five times under 500 runs, while two starts a second are asked for.

The short form is in `test_starts.py`, with one crash.
"""

import asyncio
import logging
import random
import time

import pytest
from sqlmodel import col, select

from db.runs import Run
from schemas.run import RunStatus
from tests.faults.evidence import figures
from tests.faults.mixture import Mixture
from tests.faults.stand import Stand, until
from tests.servers.ai_server import AiServer
from tests.servers.effect_sink import EffectSink

_log = logging.getLogger("sojourn.faults")
_ROUNDS, _RUNS = 5, 500
_DOWN = (10.0, 90.0)  # seconds
_SLOWEST = 2.0  # seconds of one start's answer
_STARTED = 15.0  # seconds after Temporal's return


async def test_temporal_killed_five_times_under_starts(stand: Stand, seed: int, long: bool) -> None:
    if not long:
        pytest.skip("the short form is in test_starts.py")
    chance = random.Random(seed)
    slowest, waited, outages = 0.0, 0.0, 0.0
    async with EffectSink(delay=1.0) as sink, AiServer(text="warm", delay=1.0) as ai:
        mixture = Mixture(stand, sink, ai, prefix="away")
        await mixture.publish()
        await stand.start_worker(**mixture.settings)
        await mixture.start(_RUNS)
        for _ in range(_ROUNDS):
            stand.kill_temporal()
            down = chance.uniform(*_DOWN)
            outages += down
            end = time.monotonic() + down
            while time.monotonic() < end:
                began = time.monotonic()
                await mixture.start(1)
                taken = time.monotonic() - began
                slowest = max(slowest, taken)
                await asyncio.sleep(max(0.0, 0.5 - taken))
            await stand.restart_temporal()
            back = time.monotonic()
            await until(lambda: _none_queued(stand), "all accepted runs have started", _STARTED)
            waited = max(waited, time.monotonic() - back)
        await mixture.ended(300)
        await mixture.check()
    said = {
        "runs": len(mixture.started),
        "kills": _ROUNDS,
        "seconds_away": round(outages),
        "lost": 0,
        "double": 0,
        "slowest_start_s": round(slowest, 2),
        "started_after_return_s": round(waited, 1),
        "seed": seed,
    }
    figures("T2 Temporal killed", **said)
    _log.warning("%s", said)
    assert slowest <= _SLOWEST


async def _none_queued(stand: Stand) -> bool:
    async with stand.database.session() as session:
        found = await session.exec(select(Run.id).where(col(Run.status) == RunStatus.QUEUED))
        return not found.all()
