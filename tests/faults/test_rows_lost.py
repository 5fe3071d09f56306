"""Rows of runs that were deleted or rolled back, while runs go on and their healer is dead."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg
import pytest
from temporalio.client import WorkflowExecutionStatus

from db import run_steps
from db.run_steps import RunStep
from db.run_table import Run
from schemas.run import RunStatus, StepStatus
from tests.faults.evidence import figures
from tests.faults.naps import WORKSPACE, Nap, check_awake, fall_asleep
from tests.faults.stand import Stand, until

_log = logging.getLogger("sojourn.faults")
_HEALED = 30.0  # seconds
_KEPT = "status, seq, output, error, finished_at, ended_by, updated_at, checked_at"
_SOME = f"SELECT id, {_KEPT} FROM runs WHERE id = ANY($1::text[])"
_BACK = f"UPDATE runs SET ({_KEPT}) = ($2, $3, $4, $5, $6, $7, $8, $9) WHERE id = $1"
# As the row was before the run fell asleep.
_EARLIER = (
    "UPDATE runs SET status = 'running', seq = 0, waiting_for = NULL, until = NULL,"
    " updated_at = created_at WHERE id = ANY($1::text[])"
)
_ANOTHER_END = "UPDATE runs SET status = 'failed' WHERE id = ANY($1::text[])"


@dataclass
class Damage:
    """Which rows were deleted, and which were rolled back, of ended runs and of open ones."""

    deleted: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    sleeping: list[str] = field(default_factory=list)


async def test_rows_that_were_deleted_or_rolled_back_are_healed(
    stand: Stand, seed: int, long: bool
) -> None:
    count = 100 if long else 10
    shortest, longest, control = (20.0, 140.0, 35.0) if long else (9.0, 27.0, 3.0)
    chance = random.Random(seed)
    await stand.start_worker()
    step = (longest - shortest) / count
    lengths = [shortest + number * step for number in range(count)]
    naps = await fall_asleep(stand, "lost", lengths)
    async with _connected(stand) as connection:
        asleep = await connection.fetch(_SOME, [nap.run_id for nap in naps])
        await until(lambda: _ended(stand, naps, count // 3), "a third of the runs have ended")
        before = {nap.run_id: await nap.row(stand) for nap in naps}
        final = {run_id: row for run_id, row in before.items() if row.status.terminal}
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute(_ANOTHER_END, list(final))
        # Nobody heals while the API, which holds the reconciler, is dead.
        stand.kill_api()
        damage = await _damage(connection, before, asleep, chance)
        await asyncio.sleep(control)
        wrong = await _still_wrong(connection, damage)
        assert wrong == len(damage.deleted) + len(damage.ended), "only a reconciler heals"
    await stand.start_api()
    healed = await _healed(stand, naps, before)
    await _same_as_before(stand, naps, before)
    said: dict[str, float | str] = {
        "rows": count,
        "deleted": len(damage.deleted),
        "rolled_back": len(damage.ended) + len(damage.sleeping),
        "wrong_without_it": wrong,
        "for_s": control,
        "healed_in_s": round(healed, 1),
    }
    if long:
        # Once more, with the reconciler at its own pace.
        async with _connected(stand) as connection:
            rows = {nap.run_id: await nap.row(stand) for nap in naps}
            again = await _damage(connection, rows, asleep, chance)
        healed = await _healed(stand, naps, rows)
        said |= {
            "deleted_while_it_runs": len(again.deleted),
            "healed_while_it_runs_in_s": round(healed, 1),
        }
    # What the runs write themselves goes into the new rows, and no mail was sent twice.
    await check_awake(stand, naps, longest + 60.0)
    sent = [(mail.to, mail.subject) for mail in stand.smtp.deliveries]
    assert sorted(sent) == sorted(mail for nap in naps for mail in nap.mails)
    for run_id, row in final.items():
        nap = next(nap for nap in naps if nap.run_id == run_id)
        assert (await nap.row(stand)).status is row.status
    figures("T21 rows deleted and rolled back, reconciler killed", **said, seed=seed)
    _log.warning("%s", said)


@asynccontextmanager
async def _connected(stand: Stand) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(stand.postgres.url("sojourn"))
    try:
        yield connection
    finally:
        await connection.close()


async def _ended(stand: Stand, naps: list[Nap], count: int) -> bool:
    rows = [await nap.row(stand) for nap in naps]
    return sum(row.status.terminal for row in rows) >= count


async def _damage(
    connection: asyncpg.Connection,
    now: dict[str, Run],
    asleep: list[asyncpg.Record],
    chance: random.Random,
) -> Damage:
    """Delete half of the rows, and roll half of the others back, ended or not."""
    done = Damage(deleted=chance.sample(sorted(now), len(now) // 2))
    slept = {row["id"] for row in asleep if row["status"] == RunStatus.WAITING}
    others = sorted(slept - set(done.deleted))
    ended = [run_id for run_id in others if now[run_id].status.terminal]
    sleeping = [run_id for run_id in others if not now[run_id].status.terminal]
    done.ended = chance.sample(ended, (len(ended) + 1) // 2)
    done.sleeping = chance.sample(sleeping, (len(sleeping) + 1) // 2)
    async with connection.transaction():
        # As a restored backup does: no trigger is asked. Foreign keys are triggers, too.
        await connection.execute("DELETE FROM runs WHERE id = ANY($1::text[])", done.deleted)
        await connection.execute("SET LOCAL session_replication_role = replica")
        for row in asleep:
            if row["id"] in done.ended:
                await connection.execute(_BACK, *row.values())
        await connection.execute(_EARLIER, done.sleeping)
    return done


async def _still_wrong(connection: asyncpg.Connection, damage: Damage) -> int:
    """Count the rows that nobody but a reconciler can heal, and that are wrong."""
    there: int | None = await connection.fetchval(
        "SELECT count(*) FROM runs WHERE id = ANY($1::text[])", damage.deleted
    )
    sleeping: int | None = await connection.fetchval(
        "SELECT count(*) FROM runs WHERE id = ANY($1::text[]) AND status = 'waiting'", damage.ended
    )
    return len(damage.deleted) - (there or 0) + (sleeping or 0)


async def _healed(stand: Stand, naps: list[Nap], before: dict[str, Run]) -> float:
    """Wait until every row says what Temporal says; gives the seconds that it took."""
    began = time.monotonic()

    while True:
        wrong = [nap.run_id for nap in naps if not await _right(stand, nap, before[nap.run_id])]
        seconds = time.monotonic() - began
        if not wrong:
            return seconds
        if seconds > _HEALED:
            rows = [await _row_and_steps(stand, run_id) for run_id in wrong]
            raise AssertionError(f"not right after {_HEALED:g} s: {len(wrong)}, {rows[:3]}")
        await asyncio.sleep(0.05)


async def _row_and_steps(stand: Stand, run_id: str) -> tuple[Run | None, list[RunStep]]:
    async with stand.database.session() as session:
        row = await session.get(Run, run_id)
        return row, await run_steps.steps(session, WORKSPACE, run_id)


async def _right(stand: Stand, nap: Nap, before: Run) -> bool:
    row, steps = await _row_and_steps(stand, nap.run_id)
    if row is None or row.input != before.input:
        return False
    found = [(step.path, step.status) for step in steps]
    if row.status is RunStatus.COMPLETED:
        return row.output == {"slept": True} and found == [
            (path, StepStatus.COMPLETED) for path in ("begin", "sleep", "mail", "wake")
        ]
    if (await nap.handle(stand).describe()).status is WorkflowExecutionStatus.COMPLETED:
        return False
    awake = [("begin", StepStatus.COMPLETED), ("sleep", StepStatus.COMPLETED)]
    dozing = [awake[0], ("sleep", StepStatus.WAITING)]
    return (row.status is RunStatus.WAITING and found == dozing) or found[:2] == awake


async def _same_as_before(stand: Stand, naps: list[Nap], before: dict[str, Run]) -> None:
    """The rows have what they had: all that a run's start tells."""
    told = ("workspace", "definition", "version", "input", "workflow_id", "temporal_run_id")
    for nap in naps:
        row = await nap.row(stand)
        for name in told:
            assert getattr(row, name) == getattr(before[nap.run_id], name), name
