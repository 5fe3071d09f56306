"""Bulk jobs: made with all their items, worked off one by one, watched, cancelled."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db import audit
from db.base import clean_text, now
from db.bulk_tables import BulkItem, BulkJob, ItemState, JobState
from db.pages import DEFAULT_PAGE, Page, cut, decode_cursor, page_size
from db.run_table import OPEN, Run
from schemas.bulk import BulkAction, BulkProgress
from schemas.errors import ConflictError, InputError, NotFoundError
from schemas.run import RunStatus

# Who starts a job's workflow has this long; then another may try.
_START_AGAIN = timedelta(seconds=10)
_INSERT = 1000
_OPEN_JOBS = (JobState.QUEUED, JobState.RUNNING)


@dataclass(frozen=True, kw_only=True)
class WantedRuns:
    """Which open runs; `created_from` is included, `created_to` is not."""

    definition: str | None = None
    version: int | None = None
    status: Sequence[RunStatus] = ()
    lead_id: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None


async def run_ids(
    session: AsyncSession, workspace: str, wanted: WantedRuns, *, limit: int
) -> list[str]:
    """Give the ids of open runs that no other run has started, the oldest first."""
    statement = sa.select(col(Run.id)).where(
        col(Run.workspace) == workspace,
        col(Run.status).in_(list(wanted.status) or OPEN),
        col(Run.status).in_(OPEN),
        col(Run.parent_run_id).is_(None),
    )
    for name in ("definition", "version", "lead_id"):
        value = getattr(wanted, name)
        if value is not None:
            statement = statement.where(getattr(Run, name) == value)
    if wanted.created_from is not None:
        statement = statement.where(col(Run.created_at) >= wanted.created_from)
    if wanted.created_to is not None:
        statement = statement.where(col(Run.created_at) < wanted.created_to)
    statement = statement.order_by(col(Run.created_at), col(Run.id)).limit(limit)
    return list((await (await session.connection()).execute(statement)).scalars())


async def create(
    session: AsyncSession,
    workspace: str,
    action: BulkAction,
    ids: Sequence[str],
    *,
    parameters: dict[str, Any],
    rate: int,
    actor: str,
) -> BulkJob:
    """Store a job with an item for each id, in their order; nobody has begun it."""
    job = BulkJob(
        workspace=workspace,
        action=action,
        parameters=parameters,
        rate=rate,
        total=len(ids),
        actor=actor,
        due_at=now() + _START_AGAIN,
    )
    session.add(job)
    await session.flush()
    rows = [
        {
            "job_id": job.id,
            "position": position,
            "subject_id": subject,
            "state": ItemState.PENDING,
        }
        for position, subject in enumerate(ids, start=1)
    ]
    connection = await session.connection()
    for start in range(0, len(rows), _INSERT):
        await connection.execute(sa.insert(BulkItem), rows[start : start + _INSERT])
    audit.add(
        session,
        workspace,
        actor=actor,
        action=f"bulk.{action.value}",
        subject=job.id,
        data={"items": len(ids), "rate": rate, **parameters},
    )
    return job


async def get(session: AsyncSession, workspace: str, job_id: str) -> BulkJob:
    """Return a job; raises NotFoundError."""
    statement = select(BulkJob).where(BulkJob.id == job_id, BulkJob.workspace == workspace)
    found = (await session.exec(statement)).first()
    if found is None:
        raise NotFoundError(f"there is no bulk job {job_id!r}")
    return found


async def list_page(
    session: AsyncSession, workspace: str, *, cursor: str | None = None, limit: int = DEFAULT_PAGE
) -> Page[BulkJob]:
    """Return a page of jobs, newest first; raises InputError for a bad cursor."""
    statement = select(BulkJob).where(BulkJob.workspace == workspace)
    if cursor is not None:
        place = sa.tuple_(col(BulkJob.created_at), col(BulkJob.id))
        statement = statement.where(place < sa.tuple_(*decode_cursor(cursor)))
    statement = statement.order_by(col(BulkJob.created_at).desc(), col(BulkJob.id).desc())
    return cut((await session.exec(statement.limit(page_size(limit) + 1))).all(), limit)


async def items(
    session: AsyncSession,
    job_id: str,
    *,
    state: ItemState | None = None,
    cursor: str | None = None,
    limit: int = DEFAULT_PAGE,
) -> tuple[list[BulkItem], str | None]:
    """Return a page of a job's items in their order, and the cursor of the next one."""
    after = 0
    if cursor is not None:
        if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 9):
            raise InputError("the cursor is not one that a list has returned", path="cursor")
        after = int(cursor)
    statement = select(BulkItem).where(BulkItem.job_id == job_id, BulkItem.position > after)
    if state is not None:
        statement = statement.where(BulkItem.state == state)
    statement = statement.order_by(col(BulkItem.position)).limit(page_size(limit) + 1)
    rows = list((await session.exec(statement)).all())
    shown = rows[:limit]
    return shown, str(shown[-1].position) if len(rows) > limit else None


async def take_due(session: AsyncSession, workspace: str, *, limit: int = 20) -> list[BulkJob]:
    """Take jobs whose workflow nobody has started; nobody else gets them for a while."""
    statement = (
        select(BulkJob)
        .where(
            BulkJob.workspace == workspace,
            BulkJob.state == JobState.QUEUED,
            col(BulkJob.due_at) <= now(),
        )
        .order_by(col(BulkJob.due_at))
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    found = list((await session.exec(statement)).all())
    for job in found:
        job.due_at = now() + _START_AGAIN
        session.add(job)
    return found


async def begin(session: AsyncSession, workspace: str, job_id: str) -> BulkJob:
    """Note that a job's workflow runs; gives the job, which may be final already."""
    moment = now()
    statement = (
        sa.update(BulkJob)
        .where(
            col(BulkJob.id) == job_id,
            col(BulkJob.workspace) == workspace,
            col(BulkJob.state) == JobState.QUEUED,
        )
        .values(state=JobState.RUNNING, started_at=moment, updated_at=moment)
        .execution_options(synchronize_session=False)
    )
    await session.exec(statement)
    return await get(session, workspace, job_id)


async def pending(session: AsyncSession, job_id: str, *, limit: int) -> list[BulkItem]:
    """Give the items that have their turn next."""
    statement = (
        select(BulkItem)
        .where(BulkItem.job_id == job_id, BulkItem.state == ItemState.PENDING)
        .order_by(col(BulkItem.position))
        .limit(limit)
    )
    return list((await session.exec(statement)).all())


async def close_item(
    session: AsyncSession,
    item: BulkItem,
    state: ItemState,
    *,
    run_id: str | None = None,
    code: str | None = None,
    message: str | None = None,
) -> bool:
    """Say what became of a pending item; False if somebody was faster, or has cancelled the job."""
    statement = (
        sa.update(BulkItem)
        .where(
            col(BulkItem.job_id) == item.job_id,
            col(BulkItem.position) == item.position,
            col(BulkItem.state) == ItemState.PENDING,
        )
        .values(
            state=state,
            run_id=run_id,
            code=code,
            message=clean_text(message[:1000]) if message else None,
            finished_at=now(),
        )
        .execution_options(synchronize_session=False)
    )
    return (await session.exec(statement)).rowcount > 0


async def progress(session: AsyncSession, workspace: str, job_id: str) -> BulkProgress:
    """Count a job's items into its row, and complete it when none is left; gives the figures."""
    counting = (
        sa.select(col(BulkItem.state), sa.func.count())
        .where(col(BulkItem.job_id) == job_id)
        .group_by(col(BulkItem.state))
    )
    rows = (await (await session.connection()).execute(counting)).all()
    counts: dict[str, int] = {row[0]: row[1] for row in rows}
    left = counts.get(ItemState.PENDING, 0)
    moment = now()
    values: dict[str, Any] = {
        "done": counts.get(ItemState.DONE, 0),
        "failed": counts.get(ItemState.FAILED, 0),
        "updated_at": moment,
    }
    mine = sa.and_(col(BulkJob.id) == job_id, col(BulkJob.workspace) == workspace)
    await session.exec(sa.update(BulkJob).where(mine).values(values))
    if not left:
        ending = (
            sa.update(BulkJob)
            .where(mine, col(BulkJob.state).in_(_OPEN_JOBS))
            .values(state=JobState.COMPLETED, finished_at=moment)
        )
        await session.exec(ending)
    job = await get(session, workspace, job_id)
    return BulkProgress(
        total=job.total,
        done=values["done"],
        failed=values["failed"],
        more=bool(left) and job.state in _OPEN_JOBS,
    )


async def cancel(session: AsyncSession, workspace: str, job_id: str, *, actor: str) -> BulkJob:
    """End a job: items that have not had their turn are skipped; ConflictError when it has ended.

    An item that is under way comes to its end.
    """
    moment = now()
    statement = (
        sa.update(BulkJob)
        .where(
            col(BulkJob.id) == job_id,
            col(BulkJob.workspace) == workspace,
            col(BulkJob.state).in_(_OPEN_JOBS),
        )
        .values(state=JobState.CANCELLED, finished_at=moment, updated_at=moment)
        .returning(BulkJob)
        .execution_options(populate_existing=True)
    )
    job = (await session.exec(statement)).scalars().first()
    if job is None:
        job = await get(session, workspace, job_id)
        raise ConflictError(f"the bulk job has ended: it is {job.state.value}")
    skipping = (
        sa.update(BulkItem)
        .where(col(BulkItem.job_id) == job_id, col(BulkItem.state) == ItemState.PENDING)
        .values(state=ItemState.SKIPPED, finished_at=moment)
        .execution_options(synchronize_session=False)
    )
    await session.exec(skipping)
    audit.add(session, workspace, actor=actor, action="bulk.cancel", subject=job_id)
    return job
