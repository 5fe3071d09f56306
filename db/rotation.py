"""Seals everything that is stored sealed under the current key, so that older ones can go."""

from dataclasses import dataclass

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db import audit
from db.connections import Connection
from db.engine import Database
from db.sealing import bound_to
from db.secrets import Secret
from db.tenancy import system
from schemas.keyring import KeyRing, Sealed

BATCH = 100


@dataclass(frozen=True, slots=True)
class Rotated:
    """How many rows were sealed anew."""

    connections: int
    secrets: int


async def rotate(
    database: Database, keyring: KeyRing, *, workspace: str, batch: int = BATCH
) -> Rotated:
    """Seal every connection and secret of all workspaces under the ring's current key.

    In transactions of `batch` rows: it can be stopped and run again, beside working processes
    that have the same ring. The audit entry goes to `workspace`. Raises SealError where a row
    needs a key that is not in the ring; what was done before it stays done.
    """
    with system():
        return await _rotate(database, keyring, workspace, batch)


async def _rotate(database: Database, keyring: KeyRing, workspace: str, batch: int) -> Rotated:
    counts = {"connections": 0, "secrets": 0}
    for name, table in (("connections", Connection), ("secrets", Secret)):
        while True:
            async with database.session() as session:
                done = await _reseal(session, name, table, keyring, batch)
            counts[name] += done
            if done == 0:
                break
    async with database.session() as session:
        audit.add(
            session,
            workspace,
            actor="operator",
            action="secrets.rotate",
            subject=keyring.current,
            data=counts,
        )
    return Rotated(**counts)


async def _reseal(
    session: AsyncSession,
    name: str,
    table: type[Connection] | type[Secret],
    keyring: KeyRing,
    limit: int,
) -> int:
    """Seal up to `limit` rows of other keys under the current one; returns how many."""
    statement = (
        select(table)
        .where(col(table.key_id) != keyring.current)
        .order_by(col(table.id))
        .limit(limit)
        .with_for_update()
    )
    rows = (await session.exec(statement)).all()
    for row in rows:
        aad = bound_to(row.workspace, name, row.name)
        sealed = keyring.seal(keyring.open(Sealed(row.key_id, row.sealed), aad), aad)
        row.sealed, row.key_id = sealed.data, sealed.key_id
        session.add(row)
    await session.flush()
    return len(rows)
