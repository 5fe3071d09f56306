"""Seals over the audit: digests of closed ranges of entries, each over the one before it.

A chain entry by entry would make every start of a run wait for the one before it. Seals are made
afterwards, one for each workspace that has new entries: an entry that is changed, taken out or put
in later than its seal shows at the next verification. The newest digest, kept elsewhere (the API
logs it), also shows a chain that was made anew as a whole.
"""

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlmodel import Field, SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db.audit import AuditEntry
from db.base import now
from db.engine import Database
from db.locks import try_lock
from db.tenancy import scope, system

# Of a workspace's first seal.
ROOT = "0" * 64
BATCH = 5000
# Entries held in memory at a time.
PAGE = 1000
# Seconds to wait for transactions that may yet add an entry below the range's end.
PATIENCE = 20.0
_PAUSE = 0.05
_WRITERS = sa.text(
    "SELECT virtualtransaction FROM pg_locks"
    " WHERE relation = 'audit_entries'::regclass AND mode = 'RowExclusiveLock'"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


class AuditSeal(SQLModel, table=True):
    """Seal `number` of a workspace: its entries with `first_seq` <= seq <= `last_seq`.

    `digest` is over `previous`, the digest of the seal before, and the entries in order. A seal
    whose entries retention has taken, or some of them, says so in `pruned_at`.
    """

    __tablename__ = "audit_seals"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (sa.Index(None, "last_seq"),)

    workspace: str = Field(primary_key=True)
    number: int = Field(primary_key=True)
    first_seq: int = Field(sa_type=sa.BigInteger)
    last_seq: int = Field(sa_type=sa.BigInteger)
    entries: int
    previous: str
    digest: str
    sealed_at: datetime = Field(default_factory=now)
    pruned_at: datetime | None = None


@dataclass(frozen=True)
class Verdict:
    """What verifying a workspace found: `faults` says what is wrong, in the order of seals.

    `head` is the newest digest; `unsealed` entries are younger than it.
    `known` where a digest that was asked for is among the seals.
    """

    workspace: str
    seals: int
    entries: int
    pruned: int
    unsealed: int
    head: str
    faults: list[str]
    known: bool = False


def _line(entry: AuditEntry) -> bytes:
    """Give an entry as the digest reads it: every column, in one order, times in UTC."""
    values = entry.model_dump(mode="python")
    values["created_at"] = entry.created_at.astimezone(UTC).isoformat()
    return json.dumps(values, sort_keys=True, separators=(",", ":")).encode() + b"\n"


async def _digest(
    session: AsyncSession, workspace: str, previous: str, first: int, last: int
) -> tuple[str, int]:
    """Return the digest over `previous` and a range of entries, and how many there are.

    A workspace's first range begins with those that have no number, in the order of their ids.
    """
    digest, count = hashlib.sha256(previous.encode() + b"\n"), 0
    mine = select(AuditEntry).where(AuditEntry.workspace == workspace)
    ranges = [mine.where(col(AuditEntry.seq).between(first, last)).order_by(col(AuditEntry.seq))]
    if previous == ROOT:
        old = mine.where(col(AuditEntry.seq).is_(None)).order_by(col(AuditEntry.id))
        ranges.insert(0, old)
    for wanted in ranges:
        entry: AuditEntry | None = None
        while True:
            page = wanted.limit(PAGE)
            if entry is not None:
                after = AuditEntry.id if entry.seq is None else AuditEntry.seq
                page = page.where(col(after) > (entry.id if entry.seq is None else entry.seq))
            found = (await session.exec(page)).all()
            for entry in found:
                digest.update(_line(entry))
                session.expunge(entry)
            count += len(found)
            if len(found) < PAGE:
                break
    return digest.hexdigest(), count


async def seal(database: Database, *, batch: int = BATCH) -> list[AuditSeal]:
    """Seal what has been added since the last time, at most `batch` entries; gives the seals.

    Gives none if another process is at it, or if a transaction that may yet add to the range does
    not end in 20 seconds.
    """
    with system():
        async with database.session() as guard:
            if not await try_lock(guard, "audit-seals"):
                return []
            end = await _closed(database)
            if end is None:
                return []
            async with database.session() as session:
                return await _seal(session, end, batch)


async def _closed(database: Database) -> int | None:
    """Return a number below which no entry can be added any more.

    Who inserts holds a lock on the table before it is given a number, until its transaction ends:
    when all those have gone that were there after the highest number was read, the range is shut.
    """
    async with database.session() as session:
        end = (await session.exec(select(sa.func.max(col(AuditEntry.seq))))).one()
        writers = set((await (await session.connection()).execute(_WRITERS)).scalars())
    limit = time.monotonic() + PATIENCE
    while writers:
        if time.monotonic() >= limit:
            return None
        await asyncio.sleep(_PAUSE)
        async with database.session() as session:
            writers &= set((await (await session.connection()).execute(_WRITERS)).scalars())
    return end


async def _seal(session: AsyncSession, end: int, batch: int) -> list[AuditSeal]:
    start = (await session.exec(select(sa.func.max(col(AuditSeal.last_seq))))).one() or 0
    fresh = [col(AuditEntry.seq) > start, col(AuditEntry.seq) <= end]
    # The range ends for every workspace where it ends for this pass.
    numbers = select(AuditEntry.seq).where(*fresh).order_by(col(AuditEntry.seq))
    last = (await session.exec(numbers.offset(batch - 1).limit(1))).first() or end
    wanted = select(AuditEntry.workspace).where(*fresh, col(AuditEntry.seq) <= last).distinct()
    made = []
    for workspace in sorted((await session.exec(wanted)).all()):
        before = await _newest(session, workspace)
        previous = ROOT if before is None else before.digest
        first = 1 if before is None else before.last_seq + 1
        digest, count = await _digest(session, workspace, previous, first, last)
        made.append(
            AuditSeal(
                workspace=workspace,
                number=1 if before is None else before.number + 1,
                first_seq=first,
                last_seq=last,
                entries=count,
                previous=previous,
                digest=digest,
            )
        )
    session.add_all(made)
    await session.flush()
    return made


async def _newest(session: AsyncSession, workspace: str) -> AuditSeal | None:
    statement = select(AuditSeal).where(AuditSeal.workspace == workspace)
    return (await session.exec(statement.order_by(col(AuditSeal.number).desc()).limit(1))).first()


async def workspaces(database: Database) -> list[str]:
    """List the workspaces that have seals."""
    with system():
        async with database.session() as session:
            statement = select(AuditSeal.workspace).distinct().order_by(AuditSeal.workspace)
            return list((await session.exec(statement)).all())


async def verify(database: Database, workspace: str, *, head: str | None = None) -> Verdict:
    """Compute every digest of a workspace anew and compare; reads each entry once."""
    faults: list[str] = []
    seals = entries = pruned = covered = 0
    newest, known = ROOT, False
    with scope(workspace):
        async for each in _seals(database, workspace):
            if each.number != seals + 1 or each.first_seq != covered + 1 or each.previous != newest:
                faults.append(f"seal {each.number} does not follow the one before it")
            seals, newest, covered = each.number, each.digest, each.last_seq
            known = known or newest == head
            if each.pruned_at is not None:
                pruned += 1
                continue
            async with database.session() as session:
                digest, count = await _digest(
                    session, workspace, each.previous, each.first_seq, each.last_seq
                )
            entries += count
            if digest != each.digest:
                made = f"{each.sealed_at:%Y-%m-%d %H:%M} UTC"
                faults.append(
                    f"seal {each.number} of {made} is broken: it was over {each.entries} entries,"
                    f" and {count} are there, or an entry was changed"
                )
        async with database.session() as session:
            total = select(sa.func.count()).where(col(AuditEntry.workspace) == workspace)
            later = (await session.exec(total.where(col(AuditEntry.seq) > covered))).one()
    return Verdict(workspace, seals, entries, pruned, later, newest, faults, known)


async def _seals(database: Database, workspace: str) -> AsyncIterator[AuditSeal]:
    number = 0
    while True:
        async with database.session() as session:
            statement = (
                select(AuditSeal)
                .where(AuditSeal.workspace == workspace, col(AuditSeal.number) > number)
                .order_by(col(AuditSeal.number))
                .limit(1000)
            )
            page = (await session.exec(statement)).all()
        if not page:
            return
        for each in page:
            yield each
        number = page[-1].number
