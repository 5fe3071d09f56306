"""Quotas of runs: how many events and signals one execution of a run may be sent.

Temporal refuses every signal after 10,000 of one execution, also those that pause a run, and ends
a run whose history is too large. So what comes from outside is counted before it is sent, and a
new count begins once the run has continued as new.
"""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
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


# An event of a run without a row, which nobody counts, is free.
_TAKE = f"""
WITH wanted AS (
    SELECT runs.id, runs.workspace, sum(asked.size) AS size, count(*) AS events
    FROM unnest(CAST(:ids AS text[]), CAST(:sizes AS bigint[])) AS asked (id, size)
    JOIN runs ON runs.id = asked.id GROUP BY runs.id, runs.workspace
), taken AS (
    INSERT INTO run_quotas (run_id, workspace, events, bytes, updated_at)
    SELECT id, workspace, events, size, CAST(:now AS timestamptz) FROM wanted ORDER BY id
    ON CONFLICT (run_id) DO UPDATE SET events = run_quotas.events + excluded.events,
        bytes = run_quotas.bytes + excluded.bytes, updated_at = excluded.updated_at
    WHERE run_quotas.events < {MAX_EVENTS} AND run_quotas.bytes < {MAX_EVENT_BYTES}
    RETURNING run_id
)
SELECT id FROM wanted WHERE id NOT IN (SELECT run_id FROM taken)
"""  # noqa: S608 - constants


async def take(session: AsyncSession, asked: Sequence[tuple[str, int]]) -> set[str]:
    """Count one event for each run and size given; gives the runs that have had their share.

    What is asked for one run is granted or refused together, and counted when it is granted. A
    share is the more by what the last one granted has above it.
    """
    if not asked:
        return set()
    parameters = {
        "ids": [run_id for run_id, _ in asked],
        "sizes": [size for _, size in asked],
        "now": now(),
    }
    connection = await session.connection()
    return set((await connection.execute(sa.text(_TAKE), parameters)).scalars())


async def renew(session: AsyncSession, run_id: str, execution: str) -> bool:
    """Begin a new count if this is another execution than the one that was counted."""
    statement = (
        sa.update(RunQuota)
        .where(col(RunQuota.run_id) == run_id, col(RunQuota.execution).is_distinct_from(execution))
        .values(execution=execution, events=0, bytes=0, updated_at=now())
        .execution_options(synchronize_session=False)
    )
    return (await session.exec(statement)).rowcount > 0
