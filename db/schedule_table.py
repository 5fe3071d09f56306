"""The table of schedules: what Temporal was told of each schedule trigger, and what waits."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Field, SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db.base import now
from db.trigger_table import Trigger, TriggerKind


class ScheduleState(SQLModel, table=True):
    """One schedule; `written` is the trigger's `updated_at` that Temporal was told at `written_at`.

    `buffered_for` is a due time that waits for the trigger's open runs to end. There is no foreign
    key to the trigger: when that is gone, this row says what Temporal has still to forget.
    """

    __tablename__ = "schedules"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (
        sa.Index("ix_schedules_workspace", "workspace"),
        sa.Index(
            "ix_schedules_buffered",
            "workspace",
            postgresql_where=sa.text("buffered_for IS NOT NULL"),
        ),
    )

    trigger_id: str = Field(primary_key=True)
    workspace: str
    definition: str
    written: datetime | None = None
    written_at: datetime | None = None
    buffered_for: datetime | None = None


async def unwritten(
    session: AsyncSession, workspace: str, *, again_after: timedelta, limit: int = 20
) -> list[Trigger]:
    """Give schedule triggers that Temporal was not told of as they are, within `again_after`."""
    told = sa.exists().where(
        col(ScheduleState.trigger_id) == col(Trigger.id),
        col(ScheduleState.written) == col(Trigger.updated_at),
        col(ScheduleState.written_at) > now() - again_after,
    )
    statement = (
        select(Trigger)
        .where(Trigger.workspace == workspace, Trigger.kind == TriggerKind.SCHEDULE, ~told)
        .order_by(col(Trigger.updated_at))
        .limit(limit)
    )
    return list((await session.exec(statement)).all())


async def is_written(session: AsyncSession, trigger: Trigger) -> bool:
    """Tell if Temporal has the trigger's schedule as it is now."""
    statement = select(ScheduleState.written).where(ScheduleState.trigger_id == trigger.id)
    return (await session.exec(statement)).first() == trigger.updated_at


async def note_written(session: AsyncSession, trigger: Trigger) -> None:
    """Note that Temporal was told of the trigger as this row of it says."""
    moment = now()
    statement = insert(ScheduleState).values(
        trigger_id=trigger.id,
        workspace=trigger.workspace,
        definition=trigger.definition,
        written=trigger.updated_at,
        written_at=moment,
    )
    await session.exec(
        statement.on_conflict_do_update(
            index_elements=[col(ScheduleState.trigger_id)],
            set_={"written": trigger.updated_at, "written_at": moment},
        )
    )


async def orphans(session: AsyncSession, workspace: str, *, limit: int = 20) -> list[ScheduleState]:
    """Give the schedules whose triggers are gone."""
    statement = (
        select(ScheduleState)
        .where(
            ScheduleState.workspace == workspace,
            ~sa.exists().where(col(Trigger.id) == col(ScheduleState.trigger_id)),
        )
        .limit(limit)
    )
    return list((await session.exec(statement)).all())


async def forget(session: AsyncSession, trigger_id: str) -> None:
    """Delete a schedule's row: Temporal has it no more."""
    statement = sa.delete(ScheduleState).where(col(ScheduleState.trigger_id) == trigger_id)
    await session.exec(statement)


async def triggers_with_schedule(session: AsyncSession, workspace: str) -> list[tuple[str, str]]:
    """Give definition and id of every schedule trigger of a workspace."""
    statement = select(Trigger.definition, Trigger.id).where(
        Trigger.workspace == workspace, Trigger.kind == TriggerKind.SCHEDULE
    )
    return [(definition, identity) for definition, identity in await session.exec(statement)]


async def write_again(session: AsyncSession, trigger_ids: Sequence[str]) -> None:
    """Have these schedules written again: Temporal has lost them."""
    if not trigger_ids:
        return
    statement = (
        sa.update(ScheduleState)
        .where(col(ScheduleState.trigger_id).in_(list(trigger_ids)))
        .values(written=None)
        .execution_options(synchronize_session=False)
    )
    await session.exec(statement)
