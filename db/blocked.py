"""Blocked runs: those that Temporal cannot get on, and the dead letters that say so."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db import dead_letters
from db.base import clean_text, now
from db.dead_letter_table import DeadLetter, LetterKind
from db.run_table import OPEN, Run
from schemas.errors import ErrorCode
from schemas.fingerprints import MAX_MESSAGE

# Letters of runs that get on again, or have ended.
_SETTLE = sa.text("""
UPDATE dead_letters SET state = 'redriven', updated_at = now(), settled_at = now()
FROM runs WHERE dead_letters.kind = 'blocked' AND dead_letters.state = 'open'
    AND runs.id = dead_letters.subject_id AND runs.blocked_at IS NULL
""")


async def mark(session: AsyncSession, run: Run, reason: str) -> bool:
    """Note that a run is blocked, with a dead letter; False if that is known, or it has ended.

    One that has got on meanwhile and is blocked again has its dead letter open again.
    """
    text = (clean_text(reason) or "")[:MAX_MESSAGE]
    marking = (
        sa.update(Run)
        .where(col(Run.id) == run.id, col(Run.blocked_at).is_(None), col(Run.status).in_(OPEN))
        .values(blocked_at=now(), blocked_reason=text)
        .execution_options(synchronize_session=False)
    )
    if not (await session.exec(marking)).rowcount:
        return False
    letter = DeadLetter(
        workspace=run.workspace,
        kind=LetterKind.BLOCKED,
        definition=run.definition,
        version=run.version,
        subject_id=run.id,
        run_id=run.id,
        code=str(ErrorCode.INTERNAL),
        message=text,
        fingerprint="",
    )
    await dead_letters.add(session, letter, again=True)
    return True


async def clear(session: AsyncSession, run_id: str) -> bool:
    """Note that a run gets on again; its dead letter is settled. False if it was not blocked."""
    clearing = (
        sa.update(Run)
        .where(col(Run.id) == run_id, col(Run.blocked_at).is_not(None))
        .values(blocked_at=None, blocked_reason=None)
        .execution_options(synchronize_session=False)
    )
    found = (await session.exec(clearing)).rowcount > 0
    await settle_letters(session)
    return found


async def settle_letters(session: AsyncSession) -> None:
    """Settle the dead letters of runs that are blocked no longer."""
    await (await session.connection()).execute(_SETTLE)


async def blocked_runs(session: AsyncSession, *, limit: int = 200) -> Sequence[Run]:
    """Give runs that are blocked, the first first."""
    statement = (
        select(Run)
        .where(col(Run.blocked_at).is_not(None), col(Run.status).in_(OPEN))
        .order_by(col(Run.blocked_at))
        .limit(limit)
    )
    return (await session.exec(statement)).all()


async def counts(session: AsyncSession, workspace: str) -> dict[str, int]:
    """Count a workspace's blocked runs by definition."""
    statement = (
        sa.select(col(Run.definition), sa.func.count())
        .where(
            col(Run.workspace) == workspace,
            col(Run.blocked_at).is_not(None),
            col(Run.status).in_(OPEN),
        )
        .group_by(col(Run.definition))
    )
    rows = (await (await session.connection()).execute(statement)).all()
    return {name: count for name, count in rows}  # noqa: C416 - rows are no pairs to dict()
