"""Rows of runs that are lost on purpose, and what finds them again."""

import asyncio
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from api.reconciler import Reconciler
from api.recreating import Recreator
from db import recreating, run_steps
from db.engine import Database
from db.run_steps import RunStep
from db.runs import Run
from workflows.gateway import Gateway

# What a row made anew cannot have: when it was written, and what only the lost row had.
_MOMENTS = {"updated_at", "checked_at", "due_at", "admitted_at", "created_at", "started_at"}
# And what tells nothing once a run has been admitted.
_LOST = {"seq", "finished_at", "ended_by", "rated"}


async def rewrite(database: Database, statement: str, **values: object) -> None:
    """Do to the rows what a crash would."""
    async with database.session() as session:
        await (await session.connection()).execute(sa.text(statement), values)


async def row_of(database: Database, run_id: str) -> Run | None:
    """A run's row, if there is one."""
    async with database.session() as session:
        return await session.get(Run, run_id)


async def steps_of(database: Database, run_id: str) -> list[RunStep]:
    """The rows of a run's steps."""
    async with database.session() as session:
        return await run_steps.steps(session, "default", run_id)


async def lose(database: Database, *run_ids: str) -> list[Run]:
    """Delete rows; gives them as they were."""
    found = [await row_of(database, run_id) for run_id in run_ids]
    await rewrite(database, "DELETE FROM runs WHERE id = ANY(:ids)", ids=list(run_ids))
    return [run for run in found if run is not None]


async def back(database: Database, gateway: Gateway, *run_ids: str) -> list[Run]:
    """Let a reconciler look until the rows are there again with their steps."""
    async with asyncio.timeout(120):
        while True:
            # Visibility shows a run's end, or that it is there, some moments later.
            await looker(database, gateway).once()
            found = [await row_of(database, run_id) for run_id in run_ids]
            if all(run is not None and run.seq != recreating.INCOMPLETE for run in found):
                return [run for run in found if run is not None]
            await asyncio.sleep(0.1)


def looker(database: Database, gateway: Gateway, **options: Any) -> Recreator:
    """What looks for rows, with the healing of a reconciler."""
    healing = Reconciler(database, gateway)._heal
    return Recreator(database, gateway, healing, **{"every": 0.0, **options})


def same(before: Run, after: Run, *but: str) -> None:
    """The row is as it was; its moments nearly so."""
    left = _MOMENTS | _LOST | set(but)
    assert after.model_dump(exclude=left) == before.model_dump(exclude=left)
    for name in ("created_at", "started_at"):
        gap = abs(getattr(after, name) - getattr(before, name))
        # A row says when its run's first words were stored, which a busy machine puts off.
        assert gap < timedelta(minutes=1), (name, gap)


def essence(steps: list[RunStep]) -> list[dict[str, Any]]:
    """What a step made anew has: not its place, nor parameters, which its run has forgotten."""
    return [step.model_dump(exclude={"position", "input"}) for step in steps]
