"""Seals everything that is stored sealed under the current key, so that older ones can go."""

from dataclasses import dataclass

from db import audit, connections, secrets
from db.engine import Database
from db.sealing import KeyRing

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
    counts = {"connections": 0, "secrets": 0}
    for table, reseal in (("connections", connections.reseal), ("secrets", secrets.reseal)):
        while True:
            async with database.session() as session:
                done = await reseal(session, keyring, limit=batch)
            counts[table] += done
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
