"""Rates that all processes share: token buckets in PostgreSQL, filled by the database's clock."""

from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Field, SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession

from db.base import now

WORKSPACE_STARTS = "starts"


class RateBucket(SQLModel, table=True):
    """What is left of a rate: `tokens` at `filled_at`; it fills up to a minute's worth."""

    __tablename__ = "rate_buckets"  # pyright: ignore[reportAssignmentType]

    workspace: str = Field(primary_key=True)
    name: str = Field(primary_key=True)
    tokens: float
    filled_at: datetime = Field(default_factory=now)


_FILL = """
INSERT INTO rate_buckets (workspace, name, tokens, filled_at)
VALUES (:workspace, :name, CAST(:size AS float8), clock_timestamp())
ON CONFLICT (workspace, name) DO UPDATE SET
    tokens = least(CAST(:size AS float8), rate_buckets.tokens + CAST(:size AS float8) / 60
        * greatest(0, extract(epoch FROM clock_timestamp() - rate_buckets.filled_at))),
    filled_at = clock_timestamp()
RETURNING tokens
"""
_SPEND = """
UPDATE rate_buckets SET tokens = tokens - CAST(:taken AS float8)
WHERE workspace = :workspace AND name = ANY(CAST(:names AS text[]))
"""


def definition_starts(definition: str) -> str:
    """Name the bucket of a definition's starts; `WORKSPACE_STARTS` is that of all."""
    return f"{WORKSPACE_STARTS}/{definition}"


async def take(
    session: AsyncSession, workspace: str, rates: dict[str, int], *, wanted: int = 1
) -> tuple[int, float]:
    """Take up to `wanted` tokens of every bucket; gives how many, and seconds until the next one.

    `rates` are the buckets' sizes: starts a minute, of which so many may come at once. Token
    buckets as in RFC 2697. They are held until the transaction ends, which also commits the
    taking; name them in the same order everywhere.
    """
    connection = await session.connection()
    tokens: dict[str, float] = {}
    for name, size in rates.items():
        values = {"workspace": workspace, "name": name, "size": size}
        tokens[name] = (await connection.execute(sa.text(_FILL), values)).scalar_one()
    taken = min([wanted, *(int(left) for left in tokens.values())])
    if taken:
        values = {"workspace": workspace, "names": list(rates), "taken": taken}
        await connection.execute(sa.text(_SPEND), values)
    waits = [max(0.0, 1 - (tokens[name] - taken)) * 60 / size for name, size in rates.items()]
    return taken, max(waits, default=0.0)
