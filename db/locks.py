"""Locks by name, so that of several processes one does a periodic job."""

import hashlib

import sqlalchemy as sa
from sqlmodel.ext.asyncio.session import AsyncSession


def lock_key(name: str) -> int:
    """Return the 64-bit key of PostgreSQL's advisory lock for `name`."""
    digest = hashlib.sha256(f"sojourn:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


async def try_lock(session: AsyncSession, name: str) -> bool:
    """Take the lock until the transaction ends; False, without waiting, if another holds it."""
    connection = await session.connection()
    statement = sa.text("SELECT pg_try_advisory_xact_lock(:key)")
    return bool((await connection.execute(statement, {"key": lock_key(name)})).scalar_one())


async def lock(session: AsyncSession, name: str) -> None:
    """Take the lock until the transaction ends; waits for who holds it."""
    connection = await session.connection()
    await connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": lock_key(name)})
