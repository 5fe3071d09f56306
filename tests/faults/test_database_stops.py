"""PostgreSQL stops without a checkpoint while workers are killed; rows that were rolled back."""

import asyncio
import logging
import random
import time

import asyncpg
import pytest
from temporalio.client import WorkflowExecutionStatus

from schemas.run import RunStatus
from tests.faults.evidence import figures
from tests.faults.killer import Killer
from tests.faults.mixture import Mixture
from tests.faults.naps import Nap, fall_asleep
from tests.faults.stand import Stand, until
from tests.faults.test_server_crashes import check_problem
from tests.servers.ai_server import AiServer
from tests.servers.effect_sink import EffectSink

_log = logging.getLogger("sojourn.faults")
_HEALED = 30.0  # seconds
_KEPT = "status, seq, output, error, finished_at, ended_by, updated_at, checked_at"


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


async def test_rows_that_were_rolled_back_are_healed(stand: Stand, seed: int, long: bool) -> None:
    count = 100 if long else 10
    chance = random.Random(seed)
    await stand.start_worker()
    naps = await fall_asleep(stand, "rolled-back", [4.0 + number / 50 for number in range(count)])
    connection = await asyncpg.connect(stand.postgres.url("sojourn"))
    try:
        ids = [nap.run_id for nap in naps]
        before = await connection.fetch(
            f"SELECT id, {_KEPT} FROM runs WHERE id = ANY($1::text[])", ids
        )
        for nap in naps:
            await nap.handle(stand).result()
        # Nobody heals while the API, which holds the reconciler, is dead.
        stand.kill_api()
        victims = chance.sample(before, max(1, count * 2 // 3))
        async with connection.transaction():
            # As a restored backup does: no trigger is asked.
            await connection.execute("SET LOCAL session_replication_role = replica")
            for row in victims:
                await connection.execute(
                    f"UPDATE runs SET ({_KEPT}) = ($2, $3, $4, $5, $6, $7, $8, $9) WHERE id = $1",
                    *row.values(),
                )
        wrong = await connection.fetchval(
            "SELECT count(*) FROM runs WHERE id = ANY($1::text[]) AND status <> 'completed'", ids
        )
        assert wrong == len(victims)
    finally:
        await connection.close()
    await stand.start_api()
    back = time.monotonic()
    await until(lambda: _right(stand, naps), "every row is right again", _HEALED)
    healed = time.monotonic() - back
    for nap in naps:
        assert (await nap.handle(stand).describe()).status is WorkflowExecutionStatus.COMPLETED
    assert await stand.final_changes() == []
    said = {"rows": count, "rolled_back": len(victims), "healed_in_s": round(healed, 1)}
    figures("T21 rows rolled back, reconciler killed", **said, seed=seed)
    _log.warning("%s", said)


async def _right(stand: Stand, naps: list[Nap]) -> bool:
    rows = [await nap.row(stand) for nap in naps]
    return all(
        (row.status, row.output, row.error) == (RunStatus.COMPLETED, {"slept": True}, None)
        for row in rows
    )
