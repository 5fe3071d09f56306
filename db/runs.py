"""Runs: the row that is made before a run starts, and what is asked about it.

While a run is open Temporal is the truth and the row a projection (`db.projection` writes it).
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db.base import now
from db.ids import new_id
from db.pages import DEFAULT_PAGE, Page, cut, decode_cursor, page_size
from db.projection import close, ended_as, project
from db.run_steps import RunStep, steps
from db.run_table import OPEN, Run
from schemas.errors import NotFoundError
from schemas.run import RunStatus

__all__ = [
    "OPEN",
    "Run",
    "RunStep",
    "RunSummary",
    "close",
    "definitions_of",
    "ended_among",
    "ended_as",
    "get",
    "insert_child",
    "insert_queued",
    "list_page",
    "mark_checked",
    "mark_started",
    "oldest_check",
    "open_among",
    "project",
    "remove_unstarted",
    "stale_open",
    "steps",
    "workflow_id",
]


class RunSummary(BaseModel):
    """A run as lists show it: all but its input and output, which may be large."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    workspace: str
    definition: str
    version: int
    status: RunStatus
    error: dict[str, Any] | None
    lead_id: str | None
    parent_run_id: str | None
    parent_path: str | None
    priority: int
    waiting_for: str | None
    until: datetime | None
    workflow_id: str
    correlation_id: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    updated_at: datetime
    blocked_at: datetime | None = None
    blocked_reason: str | None = None


_MAY_BE_THERE = sa.or_(col(Run.due_at).is_(None), col(Run.admitted_at).is_not(None))
_SUMMARY = [getattr(Run, name) for name in RunSummary.model_fields]


def workflow_id(workspace: str, definition: str, run_id: str) -> str:
    """Return the Temporal workflow id of a run."""
    return f"{workspace}/{definition}/{run_id}"


async def insert_queued(
    session: AsyncSession,
    workspace: str,
    *,
    definition: str,
    version: int,
    input: dict[str, Any],
    run_id: str | None = None,
    priority: int = 3,
    lead_id: str | None = None,
    correlation_id: str | None = None,
    trigger_id: str | None = None,
    due_at: datetime | None = None,
    admitted_at: datetime | None = None,
    flow_key: str | None = None,
    debounce_key: str | None = None,
    rated: bool = False,
) -> Run:
    """Store a run that Temporal does not know yet; `run_id` is made if none is given.

    `db.ordering` is what orders runs; without its `due_at` nobody starts this one.
    """
    moment = now()
    identity = run_id or new_id()
    run = Run(
        id=identity,
        workspace=workspace,
        definition=definition,
        version=version,
        input=input,
        priority=priority,
        lead_id=lead_id,
        correlation_id=correlation_id,
        trigger_id=trigger_id,
        due_at=due_at,
        admitted_at=admitted_at,
        flow_key=flow_key,
        debounce_key=debounce_key,
        rated=rated,
        workflow_id=workflow_id(workspace, definition, identity),
        created_at=moment,
        updated_at=moment,
        checked_at=moment,
    )
    session.add(run)
    await session.flush()
    return run


async def insert_child(session: AsyncSession, run: Run) -> Run:
    """Store a run that another run is about to start; gives the row that is there.

    It is `run`, or what an earlier attempt of the same call stored under its id.
    """
    values = {**run.model_dump(), "status": RunStatus.QUEUED}
    await session.exec(insert(Run).values(values).on_conflict_do_nothing())
    return await get(session, run.workspace, run.id)


async def mark_started(
    session: AsyncSession, workspace: str, run_id: str, temporal_run_id: str
) -> bool:
    """Note that Temporal has the run: queued becomes running, any other status stays.

    The first `temporal_run_id` stays too. Returns False if there is no such run.
    """
    moment = now()
    statement = (
        sa.update(Run)
        .where(col(Run.id) == run_id, col(Run.workspace) == workspace)
        .values(
            status=sa.case(
                (
                    col(Run.status) == RunStatus.QUEUED,
                    sa.literal(RunStatus.RUNNING.value),
                ),
                else_=col(Run.status),
            ),
            temporal_run_id=sa.func.coalesce(col(Run.temporal_run_id), temporal_run_id),
            started_at=sa.func.coalesce(col(Run.started_at), moment),
            updated_at=moment,
        )
        .execution_options(synchronize_session=False)
    )
    return (await session.exec(statement)).rowcount > 0


async def remove_unstarted(session: AsyncSession, workspace: str, run_id: str) -> bool:
    """Delete a run that never started, with its idempotency key; False if it has started."""
    statement = (
        sa.delete(Run)
        .where(
            col(Run.id) == run_id,
            col(Run.workspace) == workspace,
            col(Run.status) == RunStatus.QUEUED,
            col(Run.temporal_run_id).is_(None),
        )
        .execution_options(synchronize_session=False)
    )
    return (await session.exec(statement)).rowcount > 0


async def get(session: AsyncSession, workspace: str, run_id: str) -> Run:
    """Return a run; raises NotFoundError."""
    statement = select(Run).where(Run.id == run_id, Run.workspace == workspace)
    run = (await session.exec(statement)).first()
    if run is None:
        raise NotFoundError(f"there is no run {run_id!r}")
    return run


async def definitions_of(
    session: AsyncSession, workspace: str, run_ids: Sequence[str]
) -> list[str]:
    """Name the definitions of these runs, sorted."""
    statement = select(Run.definition).where(
        Run.workspace == workspace, col(Run.id).in_(list(run_ids))
    )
    return sorted(set((await session.exec(statement)).all()))


async def list_page(
    session: AsyncSession,
    workspace: str,
    *,
    definition: str | None = None,
    status: RunStatus | Sequence[RunStatus] | None = None,
    lead_id: str | None = None,
    parent: str | None = None,
    created_from: datetime | None = None,
    created_to: datetime | None = None,
    blocked: bool | None = None,
    cursor: str | None = None,
    limit: int = DEFAULT_PAGE,
) -> Page[RunSummary]:
    """Return a page of runs, newest first; InputError for a bad cursor or limit.

    `created_from` is included, `created_to` is not. Runs that other runs started are listed only
    under their `parent`.
    """
    statement = sa.select(*_SUMMARY).where(
        col(Run.workspace) == workspace, col(Run.parent_run_id) == parent
    )
    if definition is not None:
        statement = statement.where(col(Run.definition) == definition)
    if status is not None:
        wanted = [status] if isinstance(status, RunStatus) else list(status)
        statement = statement.where(col(Run.status).in_(wanted))
    if lead_id is not None:
        statement = statement.where(col(Run.lead_id) == lead_id)
    if blocked is not None:
        since = col(Run.blocked_at)
        statement = statement.where(since.is_not(None) if blocked else since.is_(None))
    if created_from is not None:
        statement = statement.where(col(Run.created_at) >= created_from)
    if created_to is not None:
        statement = statement.where(col(Run.created_at) < created_to)
    if cursor is not None:
        place = sa.tuple_(col(Run.created_at), col(Run.id))
        statement = statement.where(place < sa.tuple_(*decode_cursor(cursor)))
    statement = statement.order_by(col(Run.created_at).desc(), col(Run.id).desc())
    statement = statement.limit(page_size(limit) + 1)
    rows = (await (await session.connection()).execute(statement)).mappings().all()
    return cut([RunSummary.model_validate(dict(row)) for row in rows], limit)


async def stale_open(
    session: AsyncSession,
    *,
    older_than: datetime,
    limit: int = 100,
    status: Sequence[RunStatus] = OPEN,
) -> list[Run]:
    """Return open runs that nobody has checked or written since `older_than`, oldest first.

    Those that wait to be admitted are left out: Temporal cannot know them.

    Locks them until the transaction ends and skips those that another process holds.
    """
    statement = (
        select(Run)
        .where(
            col(Run.status).in_(OPEN),
            col(Run.status).in_(list(status)),
            col(Run.checked_at) < older_than,
            _MAY_BE_THERE,
        )
        .order_by(col(Run.checked_at))
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return list((await session.exec(statement)).all())


async def mark_checked(session: AsyncSession, run_ids: Sequence[str]) -> None:
    """Note that these runs were compared with Temporal just now (`stale_open` then skips them)."""
    if not run_ids:
        return
    statement = (
        sa.update(Run)
        .where(col(Run.id).in_(list(run_ids)))
        .values(checked_at=now())
        .execution_options(synchronize_session=False)
    )
    await session.exec(statement)


async def oldest_check(session: AsyncSession) -> datetime | None:
    """Return when the stalest open run was last compared or written; None without open runs.

    An open row whose run has closed was last checked before that: who looks at all that closed
    since this moment misses none.
    """
    statement = select(sa.func.min(col(Run.checked_at))).where(
        col(Run.status).in_(OPEN), _MAY_BE_THERE
    )
    return (await session.exec(statement)).one()


async def open_among(session: AsyncSession, workflow_ids: Sequence[str]) -> list[Run]:
    """Return those of these workflows' runs whose rows are still open."""
    ids = [identity.rpartition("/")[2] for identity in workflow_ids]
    statement = select(Run).where(
        col(Run.id).in_(ids),
        col(Run.workflow_id).in_(list(workflow_ids)),
        col(Run.status).in_(OPEN),
    )
    return list((await session.exec(statement)).all())


async def ended_among(session: AsyncSession, workflow_ids: Sequence[str]) -> dict[str, RunStatus]:
    """Map those of these workflows whose rows are final to the rows' statuses."""
    ids = [identity.rpartition("/")[2] for identity in workflow_ids]
    statement = select(Run.workflow_id, Run.status).where(
        col(Run.id).in_(ids),
        col(Run.workflow_id).in_(list(workflow_ids)),
        col(Run.status).not_in(OPEN),
    )
    rows = (await session.exec(statement)).all()
    return {identity: RunStatus(status) for identity, status in rows}
