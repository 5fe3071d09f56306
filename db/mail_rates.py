"""How fast mails leave over a connection: places in a queue, given out by the database's clock."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Field, SQLModel, col
from sqlmodel.ext.asyncio.session import AsyncSession


class MailRate(SQLModel, table=True):
    """The rate of one connection ("" is the configured server): `next_at` is the first free place.

    This is the theoretical arrival time of the generic cell rate algorithm (ITU-T I.371, annex A),
    which is a token bucket kept in one number.
    """

    __tablename__ = "mail_rates"  # pyright: ignore[reportAssignmentType]

    workspace: str = Field(primary_key=True)
    connection: str = Field(primary_key=True)
    next_at: datetime


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in the queue: when it is due, and how many seconds that is from now (0: at once)."""

    at: datetime
    wait: float


async def reserve(
    session: AsyncSession, workspace: str, connection: str, *, interval: float, burst: int = 1
) -> Slot:
    """Take the next place: places are `interval` seconds apart, after a rest `burst` are at once.

    One statement, so that two processes never get the same place; the row is locked until the
    transaction ends.
    """

    def seconds(value: float) -> sa.ColumnElement[datetime]:
        return sa.func.make_interval(0, 0, 0, 0, 0, 0, value)

    clock = sa.func.clock_timestamp()
    step = seconds(interval)
    statement = (
        insert(MailRate)
        .values(workspace=workspace, connection=connection, next_at=clock + step)
        .on_conflict_do_update(
            index_elements=["workspace", "connection"],
            set_={"next_at": sa.func.greatest(col(MailRate.next_at), clock) + step},
        )
        .returning(col(MailRate.next_at) - step - seconds(interval * (burst - 1)), clock)
    )
    at, now = (await session.exec(statement)).one()
    return Slot(at=at, wait=max(0.0, (at - now).total_seconds()))


async def seconds_until(session: AsyncSession, moment: datetime) -> float:
    """Give the seconds from the database's present to `moment`; below 0 where that is past."""
    connection = await session.connection()
    now = (await connection.execute(sa.select(sa.func.clock_timestamp()))).scalar_one()
    return (moment - now).total_seconds()
