"""Quotas of runs: how many events and signals one execution of a run may be sent.

Temporal refuses every signal after 10,000 of one execution, also those that pause a run, and ends
a run whose history is too large. So what comes from outside is counted before it is sent, and a
new count begins once the run has continued as new.
"""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Field, SQLModel, col
from sqlmodel.ext.asyncio.session import AsyncSession

from db.base import now
from schemas.run import MAX_EVENT_BYTES, MAX_EVENTS


class RunQuota(SQLModel, table=True):
    """What one execution of a run was sent; `execution` is Temporal's id of it, if it is known."""

    __tablename__ = "run_quotas"  # pyright: ignore[reportAssignmentType]

    run_id: str = Field(primary_key=True, foreign_key="runs.id", ondelete="CASCADE")
    workspace: str
    execution: str | None = None
    events: int = 0
    bytes: int = Field(default=0, sa_type=sa.BigInteger)
    updated_at: datetime = Field(default_factory=now)


async def take(
    session: AsyncSession,
    workspace: str,
    run_id: str,
    *,
    size: int,
    execution: str | None = None,
) -> bool:
    """Count one event of so many bytes; False where the execution has had its share.

    With `execution` what other executions were sent is forgotten first.
    """
    moment = now()
    first = insert(RunQuota).values(
        run_id=run_id,
        workspace=workspace,
        execution=execution,
        events=1,
        bytes=size,
        updated_at=moment,
    )
    new = sa.literal(execution is not None) & col(RunQuota.execution).is_distinct_from(execution)
    statement = first.on_conflict_do_update(
        index_elements=["run_id"],
        set_={
            "execution": sa.func.coalesce(first.excluded.execution, col(RunQuota.execution)),
            "events": sa.case((new, 1), else_=col(RunQuota.events) + 1),
            "bytes": sa.case((new, size), else_=col(RunQuota.bytes) + size),
            "updated_at": moment,
        },
        where=sa.or_(
            new,
            sa.and_(
                col(RunQuota.events) < MAX_EVENTS, col(RunQuota.bytes) + size <= MAX_EVENT_BYTES
            ),
        ),
    ).returning(col(RunQuota.run_id))
    return (await (await session.connection()).execute(statement)).first() is not None
