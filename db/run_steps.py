"""Steps of runs, as the projection stores them."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field, SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db.base import JSON_TEXT, enum_type
from schemas.run import StepStatus


class RunStep(SQLModel, table=True):
    """One step of a run. `position` grows in the order in which the steps first appeared.

    `choice` is the way that it took: a split's variant, a condition's or a switch's branch.
    """

    __tablename__ = "run_steps"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (
        sa.Index(
            "ix_run_steps_waiting",
            "run_id",
            postgresql_include=["id", "type", "until", "started_at"],
            postgresql_where=sa.text("status = 'waiting'"),
        ),
        sa.Index(
            "ix_run_steps_split",
            "workspace",
            "id",
            "choice",
            "run_id",
            postgresql_include=["started_at"],
            postgresql_where=sa.text("type = 'split' AND choice IS NOT NULL"),
        ),
    )

    run_id: str = Field(primary_key=True, foreign_key="runs.id", ondelete="CASCADE")
    path: str = Field(primary_key=True)
    workspace: str
    position: int = Field(sa_type=sa.BigInteger)
    id: str
    type: str
    title: str | None = None
    status: StepStatus = Field(sa_type=enum_type(StepStatus))
    attempts: int = 0
    input: Any = Field(default=None, sa_type=JSON_TEXT, nullable=True)
    output: Any = Field(default=None, sa_type=JSON_TEXT, nullable=True)
    error: dict[str, Any] | None = Field(default=None, sa_type=JSON_TEXT)
    error_code: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    duration_ms: int | None = Field(default=None, sa_type=sa.BigInteger)
    until: datetime | None = None
    note: str | None = None
    choice: str | None = None


async def steps(
    session: AsyncSession,
    workspace: str,
    run_id: str,
    *,
    after: int | None = None,
    limit: int = 10_000,
) -> list[RunStep]:
    """Return a run's steps in the order in which they appeared, from position `after` on.

    An unknown run has none.
    """
    statement = select(RunStep).where(RunStep.run_id == run_id, RunStep.workspace == workspace)
    if after is not None:
        statement = statement.where(RunStep.position > after)
    statement = statement.order_by(col(RunStep.position), col(RunStep.path)).limit(limit)
    return list((await session.exec(statement)).all())
