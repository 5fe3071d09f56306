"""Admission: which ordered runs may start, by the limits of their definition and its workspace.

What holds a slot is counted from the rows: every open run that was admitted. There is no counter
that a crash could leave wrong. All admissions of a definition take turns at one advisory lock.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from db.base import now
from db.definitions import Definition, Version
from db.locks import lock
from db.projection import close
from db.rates import WORKSPACE_STARTS, definition_starts, take
from db.run_table import ADMITTED_SQL, WAITING_SQL, Run
from schemas.policies import Limits
from schemas.run import RunStatus

# Runs admitted at once; the rest has its turn with the next pass.
BATCH = 500


@dataclass(frozen=True, kw_only=True)
class Caps:
    """Caps of a workspace over all its definitions; None is no cap."""

    open_runs: int | None = None
    starts_per_minute: int | None = None

    @property
    def any(self) -> bool:
        """Whether there is a cap."""
        return self.open_runs is not None or self.starts_per_minute is not None


@dataclass(frozen=True)
class Admission:
    """The runs that were admitted just now, and the workflows that they must end first."""

    run_ids: list[str]
    superseded: list[str]


@dataclass(frozen=True)
class Queue:
    """The starts of a definition that wait, the runs that hold a slot, and the oldest wait."""

    waiting: int
    active: int
    oldest: datetime | None


async def lock_definition(session: AsyncSession, workspace: str, definition: str) -> None:
    """Keep all others from admitting runs of this definition until the transaction ends."""
    await lock(session, f"admission/{workspace}/{definition}")


def is_waiting(workspace: str, definition: str | None = None) -> sa.ColumnElement[bool]:
    """Give the condition for a row that was ordered and is not admitted."""
    return _within(workspace, definition, WAITING_SQL)


def is_active(workspace: str, definition: str | None = None) -> sa.ColumnElement[bool]:
    """Give the condition for a row that holds a slot."""
    return _within(workspace, definition, ADMITTED_SQL)


def _within(
    workspace: str, definition: str | None, condition: sa.TextClause
) -> sa.ColumnElement[bool]:
    # The words of the partial index, so that it serves whatever plan is made for the parameters.
    named = sa.true() if definition is None else col(Run.definition) == definition
    return sa.and_(col(Run.workspace) == workspace, named, condition)


async def waiting_definitions(session: AsyncSession, workspace: str) -> list[str]:
    """Name the definitions of which a start waits and is due; looks at one row of each."""
    # A skip scan: PostgreSQL has none of its own before version 18.
    first = (
        sa.select(sa.func.min(col(Run.definition)).label("name"))
        .where(is_waiting(workspace))
        .cte("names", recursive=True)
    )
    following = sa.select(
        sa.select(sa.func.min(col(Run.definition)))
        .where(is_waiting(workspace), col(Run.definition) > first.c.name)
        .scalar_subquery()
    ).where(first.c.name.is_not(None))
    names = first.union_all(following)
    statement = sa.select(names.c.name).where(names.c.name.is_not(None))
    return list((await (await session.connection()).execute(statement)).scalars())


async def limits_of(session: AsyncSession, workspace: str, definition: str) -> Limits:
    """Give the limits that count now: those of the active version, or else of the newest."""
    statement = (
        sa.select(col(Version.document)["limits"])
        .join(Definition, col(Definition.id) == col(Version.definition_id))
        .where(
            col(Definition.workspace) == workspace,
            col(Definition.name) == definition,
            col(Version.version)
            == sa.func.coalesce(col(Definition.active_version), col(Definition.latest_version)),
        )
    )
    found = (await (await session.connection()).execute(statement)).scalar()
    return Limits.model_validate(found or {})


async def admit(
    session: AsyncSession,
    workspace: str,
    definition: str,
    caps: Caps,
    *,
    own: tuple[str, datetime] | None = None,
) -> Admission:
    """Admit what may start now, in the order of priority and creation.

    Admitted runs are due at once; the run of `own` only from its moment on, since the caller
    starts it. One definition in a transaction: the locks of two could meet those of another.
    """
    limits = await limits_of(session, workspace, definition)
    superseded: list[str] = []
    if limits.queues or caps.any:
        await lock_definition(session, workspace, definition)
        if caps.open_runs is not None:
            await lock(session, f"admission/{workspace}")
        room = await _room(session, workspace, definition, limits, caps)
        chosen = await _choose(session, workspace, definition, limits, room)
        chosen = await _rated(session, workspace, definition, limits, caps, chosen)
        if limits.singleton is not None and limits.singleton.mode == "cancel_running":
            superseded = await _in_the_way(session, workspace, definition)
    else:
        chosen = await _choose(session, workspace, definition, limits, BATCH)
    moment = now()
    due_at: Any = moment
    if own is not None:
        due_at = sa.case((col(Run.id) == own[0], own[1]), else_=moment)
    admitting = (
        sa.update(Run)
        .where(
            col(Run.id).in_([identity for identity, _ in chosen]),
            is_waiting(workspace, definition),
        )
        .values(admitted_at=moment, due_at=due_at, rated=True)
        .returning(col(Run.id))
        .execution_options(synchronize_session=False)
    )
    if not chosen:
        return Admission([], superseded)
    admitted = (await (await session.connection()).execute(admitting)).scalars()
    return Admission(list(admitted), superseded)


async def _room(
    session: AsyncSession, workspace: str, definition: str, limits: Limits, caps: Caps
) -> int:
    room = BATCH
    connection = await session.connection()
    for most, active in (
        (limits.concurrent_runs, is_active(workspace, definition)),
        (caps.open_runs, is_active(workspace)),
    ):
        if most is not None:
            counting = sa.select(sa.func.count()).select_from(Run).where(active)
            held: int = (await connection.execute(counting)).scalar_one()
            room = min(room, most - held)
    return max(0, room)


_PLACE = (col(Run.priority), col(Run.created_at), col(Run.id))


async def _choose(
    session: AsyncSession, workspace: str, definition: str, limits: Limits, room: int
) -> list[tuple[str, bool]]:
    """Give the first that have room, and in room for their key: ids, and whether rated."""
    if room == 0:
        return []
    due = sa.and_(is_waiting(workspace, definition), col(Run.due_at) <= now())
    most = limits.concurrency.runs if limits.concurrency else 1 if limits.singleton else None
    if most is None:
        statement = sa.select(col(Run.id), col(Run.rated)).where(due).order_by(*_PLACE)
    else:
        rank = sa.func.row_number().over(partition_by=col(Run.flow_key), order_by=_PLACE)
        waiting = (
            sa.select(
                *(col(Run.id), col(Run.rated), col(Run.flow_key), *_PLACE[:2], rank.label("rank"))
            )
            .where(due)
            .cte("due_runs")
        )
        held = (
            sa.select(col(Run.flow_key), sa.func.count().label("runs"))
            .where(is_active(workspace, definition), col(Run.flow_key).is_not(None))
            .group_by(col(Run.flow_key))
            .cte("held")
        )
        statement = (
            sa.select(waiting.c.id, waiting.c.rated)
            .outerjoin(held, held.c.flow_key == waiting.c.flow_key)
            .where(
                sa.or_(
                    waiting.c.flow_key.is_(None),
                    waiting.c.rank <= most - sa.func.coalesce(held.c.runs, 0),
                )
            )
            .order_by(waiting.c.priority, waiting.c.created_at, waiting.c.id)
        )
    rows = (await (await session.connection()).execute(statement.limit(room))).all()
    return [(row[0], row[1]) for row in rows]


def rates_of(definition: str, limits: Limits, caps: Caps) -> dict[str, int]:
    """Give the buckets that a start takes from, with their sizes."""
    rates = {
        definition_starts(definition): limits.starts_per_minute,
        WORKSPACE_STARTS: caps.starts_per_minute,
    }
    return {name: size for name, size in rates.items() if size is not None}


async def _rated(
    session: AsyncSession,
    workspace: str,
    definition: str,
    limits: Limits,
    caps: Caps,
    chosen: list[tuple[str, bool]],
) -> list[tuple[str, bool]]:
    """Cut what was chosen before the first for which the rates have no token left."""
    rates = rates_of(definition, limits, caps)
    wanted = sum(not rated for _, rated in chosen)
    if not rates or not wanted:
        return chosen
    left, _ = await take(session, workspace, rates, wanted=wanted)
    for place, (_, rated) in enumerate(chosen):
        if not rated:
            if left == 0:
                return chosen[:place]
            left -= 1
    return chosen


async def _in_the_way(session: AsyncSession, workspace: str, definition: str) -> list[str]:
    """Give the workflows that run with the key of a start that waits."""
    waiting = sa.select(col(Run.flow_key)).where(is_waiting(workspace, definition))
    statement = sa.select(col(Run.workflow_id)).where(
        is_active(workspace, definition), col(Run.flow_key).in_(waiting)
    )
    return list((await (await session.connection()).execute(statement)).scalars())


async def withdraw(session: AsyncSession, workspace: str, run_id: str) -> bool:
    """Cancel a run that waits to be admitted; False if there is none."""
    if not await holds_back(session, workspace, run_id):
        return False
    return await close(session, workspace, run_id, RunStatus.CANCELLED)


async def holds_back(session: AsyncSession, workspace: str, run_id: str) -> bool:
    """Tell whether a run waits to be admitted; it does so until the transaction ends."""
    statement = (
        sa.select(col(Run.id)).where(col(Run.id) == run_id, is_waiting(workspace)).with_for_update()
    )
    return (await (await session.connection()).execute(statement)).first() is not None


async def position(session: AsyncSession, run: Run) -> int:
    """Give a waiting run's place in the queue of its definition, from 1."""
    ahead = sa.tuple_(*_PLACE) <= sa.tuple_(
        sa.literal(run.priority), sa.literal(run.created_at), sa.literal(run.id)
    )
    return await _count(session, sa.and_(is_waiting(run.workspace, run.definition), ahead))


async def queue_of(session: AsyncSession, workspace: str, definition: str) -> Queue:
    """Count what waits and what is active of a definition."""
    waiting = is_waiting(workspace, definition)
    oldest = sa.select(sa.func.min(col(Run.created_at))).where(waiting)
    return Queue(
        await _count(session, waiting),
        await _count(session, is_active(workspace, definition)),
        (await (await session.connection()).execute(oldest)).scalar(),
    )


async def count_up_to(session: AsyncSession, most: int, condition: sa.ColumnElement[bool]) -> int:
    """Count rows of runs, but not beyond `most`."""
    some = sa.select(sa.literal(1)).select_from(Run).where(condition).limit(most).subquery()
    statement = sa.select(sa.func.count()).select_from(some)
    return (await (await session.connection()).execute(statement)).scalar_one()


async def _count(session: AsyncSession, condition: sa.ColumnElement[bool]) -> int:
    statement = sa.select(sa.func.count()).select_from(Run).where(condition)
    return (await (await session.connection()).execute(statement)).scalar_one()
