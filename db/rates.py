"""Rates that all processes share: token buckets in PostgreSQL, filled by the database's clock."""

from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Field, SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession

from db.base import now


class RateBucket(SQLModel, table=True):
    """What is left of a rate: `tokens` at `filled_at`; it fills up to a minute's worth."""

    __tablename__ = "rate_buckets"  # pyright: ignore[reportAssignmentType]

    workspace: str = Field(primary_key=True)
    name: str = Field(primary_key=True)
    tokens: float
    filled_at: datetime = Field(default_factory=now)


# `before` locks the row, so that of two takers the second sees what the first has left.
_FILL = """
INSERT INTO rate_buckets (workspace, name, tokens, filled_at)
VALUES (:workspace, :name, CAST(:size AS float8), clock_timestamp())
ON CONFLICT (workspace, name) DO UPDATE SET
    tokens = least(CAST(:size AS float8), rate_buckets.tokens + CAST(:size AS float8) / 60
        * greatest(0, extract(epoch FROM clock_timestamp() - rate_buckets.filled_at))),
    filled_at = clock_timestamp()
RETURNING tokens
"""
_TAKE = """
UPDATE rate_buckets SET tokens = tokens - CAST(:taken AS float8)
WHERE workspace = :workspace AND name = :name
"""


async def take(
    session: AsyncSession, workspace: str, name: str, *, per_minute: int, wanted: int = 1
) -> tuple[int, float]:
    """Take up to `wanted` tokens of a bucket; gives how many, and seconds until there is one more.

    A bucket of the size of a minute's worth, filled steadily. Holds the bucket until the
    transaction ends; what that does not commit is not taken.
    """
    connection = await session.connection()
    where = {"workspace": workspace, "name": name}
    filling = await connection.execute(sa.text(_FILL), {**where, "size": per_minute})
    tokens: float = filling.scalar_one()
    taken = min(wanted, int(tokens))
    if taken:
        await connection.execute(sa.text(_TAKE), {**where, "taken": taken})
    missing = max(0.0, 1 - (tokens - taken))
    return taken, missing * 60 / per_minute


def start_rate(definition: str) -> str:
    """Name the bucket of a definition's starts."""
    return f"starts/{definition}"


WORKSPACE_STARTS = "starts"
