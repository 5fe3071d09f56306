"""Retention: how long a workspace keeps which rows, how old they are, and pruning the oldest."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db import audit, locks
from db.base import now
from db.engine import Database
from db.metadata import metadata
from db.retention_table import RetentionPolicy
from schemas.errors import ErrorCode, InputError, Problem
from schemas.retention import BY_NAME, MAX_DAYS, SUBJECTS, Subject

# Upper bounds, in days, of the age buckets; the last bucket is older than all of them.
BUCKETS = (1, 7, 30, 90, 365)
_PRUNE_AUDIT = sa.text("SELECT sojourn_prune_audit(:workspace, :cutoff, :most)")


@dataclass(frozen=True)
class Ages:
    """How many rows a subject has, by age: `buckets[i]` are younger than `BUCKETS[i]` days."""

    rows: int
    oldest: datetime | None
    buckets: tuple[int, ...]


@dataclass
class Pruned:
    """How many rows of each subject went; `more` when the time was up before all had gone."""

    rows: dict[str, int] = field(default_factory=dict)
    more: bool = False


def available() -> list[Subject]:
    """Give the subjects whose tables this version has, in the order of pruning."""
    return [subject for subject in SUBJECTS if subject.table in metadata.tables]


async def policies(session: AsyncSession, workspace: str) -> dict[str, int | None]:
    """Map each subject to the days that it is kept; None is for ever."""
    stored = await _stored(session, workspace)
    return {subject.name: stored.get(subject.name, subject.days) for subject in available()}


async def _stored(session: AsyncSession, workspace: str) -> dict[str, int | None]:
    statement = (
        select(RetentionPolicy)
        .where(RetentionPolicy.workspace == workspace)
        .execution_options(populate_existing=True)
    )
    return {row.subject: row.days for row in (await session.exec(statement)).all()}


async def set_policies(
    session: AsyncSession, workspace: str, days: Mapping[str, int | None], *, actor: str
) -> None:
    """Set how many days the subjects named are kept; raises InputError with each fault."""
    known = {subject.name for subject in available()}
    problems = [
        Problem(code=ErrorCode.INVALID_INPUT, path=f"policies.{name}", message=message)
        for name, value in days.items()
        if (message := _fault(name, value, known)) is not None
    ]
    if problems:
        raise InputError(
            f"{problems[0].path}: {problems[0].message}",
            hint=f"known are {', '.join(sorted(known))}",
            problems=problems,
        )
    await locks.lock(session, f"retention:{workspace}")
    before = await _stored(session, workspace)
    for name, value in days.items():
        statement = insert(RetentionPolicy).values(
            workspace=workspace, subject=name, days=value, updated_at=now()
        )
        await session.exec(
            statement.on_conflict_do_update(
                index_elements=[col(RetentionPolicy.workspace), col(RetentionPolicy.subject)],
                set_={"days": value, "updated_at": now()},
            )
        )
    audit.add(
        session,
        workspace,
        actor=actor,
        action="retention.set",
        subject=workspace,
        data=dict(days),
        before=before or None,
        after=await _stored(session, workspace),
    )


def _fault(name: str, days: int | None, known: set[str]) -> str | None:
    if name not in known:
        return "there is nothing of this name to keep"
    least = BY_NAME[name].least
    if days is not None and not least <= days <= MAX_DAYS:
        return f"must be {least} to {MAX_DAYS} days, or null for ever"
    return None


async def statistics(session: AsyncSession, workspace: str) -> dict[str, Ages]:
    """Count the rows of each subject by age: exact, about a second for some million rows."""
    moment = now()
    found: dict[str, Ages] = {}
    connection = await session.connection()
    for subject in available():
        age = sa.column(subject.age)
        counts = [sa.func.count().filter(age > moment - timedelta(days=bound)) for bound in BUCKETS]
        statement = (
            sa.select(sa.func.count(), sa.func.min(age), *counts)
            .select_from(sa.table(subject.table))
            .where(*_mine(subject, workspace))
        )
        total, oldest, *younger = tuple((await connection.execute(statement)).one())
        edges = [0, *younger, total]
        found[subject.name] = Ages(
            total, oldest, tuple(after - before for before, after in pairwise(edges))
        )
    return found


async def count_due(session: AsyncSession, workspace: str) -> dict[str, int]:
    """Count the rows that pruning would take now; a dry run."""
    found: dict[str, int] = {}
    connection = await session.connection()
    for subject, cutoff in await _cutoffs(session, workspace):
        statement = (
            sa.select(sa.func.count())
            .select_from(sa.table(subject.table))
            .where(*_mine(subject, workspace), sa.column(subject.age) < cutoff)
        )
        found[subject.name] = (await connection.execute(statement)).scalar_one()
    return found


async def prune(database: Database, workspace: str, *, seconds: float) -> Pruned:
    """Delete what is older than the policies say, oldest first, for about so many seconds.

    Each batch is a transaction of its own, so that no lock is held for long and what was done
    stays done.
    """
    end = time.monotonic() + seconds
    done = Pruned()
    async with database.session() as session:
        cutoffs = await _cutoffs(session, workspace)
    for subject, cutoff in cutoffs:
        done.rows[subject.name] = 0
        while True:
            if time.monotonic() >= end:
                done.more = True
                return done
            async with database.session() as session:
                gone = await _prune_batch(session, subject, workspace, cutoff)
            done.rows[subject.name] += gone
            if gone < subject.batch:
                break
    return done


async def _cutoffs(session: AsyncSession, workspace: str) -> list[tuple[Subject, datetime]]:
    moment, kept = now(), await policies(session, workspace)
    return [
        (subject, moment - timedelta(days=days))
        for subject in available()
        if (days := kept[subject.name]) is not None
    ]


def _mine(subject: Subject, workspace: str) -> list[sa.ColumnElement[bool]]:
    clauses: list[sa.ColumnElement[bool]] = [sa.column("workspace") == workspace]
    if subject.only is not None:
        clauses.append(sa.literal_column(f"({subject.only})", sa.Boolean))
    return clauses


async def _prune_batch(
    session: AsyncSession, subject: Subject, workspace: str, cutoff: datetime
) -> int:
    """Delete the oldest batch; rows that another process is deleting are left to it."""
    if subject.table == audit.AuditEntry.__tablename__:
        # The service has no right to delete entries: the tables' owner does, in its bounds.
        given = {"workspace": workspace, "cutoff": cutoff, "most": subject.batch}
        return (await (await session.connection()).execute(_PRUNE_AUDIT, given)).scalar_one()
    table = sa.table(subject.table)
    place: sa.ColumnClause[object] = sa.column("ctid")
    oldest = (
        sa.select(place)
        .select_from(table)
        .where(*_mine(subject, workspace), sa.column(subject.age) < cutoff)
        .order_by(sa.column(subject.age))
        .limit(subject.batch)
        .with_for_update(skip_locked=True)
    )
    statement = sa.delete(table).where(place == sa.any_(sa.func.array(oldest.scalar_subquery())))
    return (await (await session.connection()).execute(statement)).rowcount
