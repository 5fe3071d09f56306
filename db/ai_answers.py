"""Answers of models: kept for the step that paid for them, and for other steps that ask the same.

Rows that have expired are removed in passing, a few with each new one.
"""

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Field, SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db.base import JSON_TEXT, now

# How long a step's own answer waits for the attempt that comes after a crash.
RESULT_KEPT = timedelta(days=7)
_SWEPT = 20


class AiResult(SQLModel, table=True):
    """What a model answered to call number `call` of a step: paid for, whatever becomes of it."""

    __tablename__ = "ai_results"  # pyright: ignore[reportAssignmentType]

    workspace: str = Field(primary_key=True)
    step_key: str = Field(primary_key=True)
    call: int = Field(primary_key=True)
    fingerprint: str
    reply: dict[str, Any] = Field(sa_type=JSON_TEXT)
    expires_at: datetime = Field(index=True)


class AiCached(SQLModel, table=True):
    """An answer that any step of the workspace gets which asks the same."""

    __tablename__ = "ai_cache"  # pyright: ignore[reportAssignmentType]

    workspace: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    reply: dict[str, Any] = Field(sa_type=JSON_TEXT)
    created_at: datetime = Field(default_factory=now)
    expires_at: datetime = Field(index=True)


async def result(
    session: AsyncSession, workspace: str, step_key: str, call: int, fingerprint: str
) -> dict[str, Any] | None:
    """Return the answer that this call of the step got before, if it asked the same."""
    statement = select(AiResult).where(
        AiResult.workspace == workspace,
        AiResult.step_key == step_key,
        AiResult.call == call,
        AiResult.fingerprint == fingerprint,
        col(AiResult.expires_at) > sa.func.now(),
    )
    found = (await session.exec(statement)).first()
    return None if found is None else found.reply


async def keep_result(
    session: AsyncSession,
    workspace: str,
    step_key: str,
    call: int,
    fingerprint: str,
    reply: dict[str, Any],
) -> None:
    """Store the answer to a step's call."""
    await _sweep(session, AiResult)
    row = AiResult(
        workspace=workspace,
        step_key=step_key,
        call=call,
        fingerprint=fingerprint,
        reply=reply,
        expires_at=now() + RESULT_KEPT,
    )
    await _put(session, AiResult, row, ["workspace", "step_key", "call"])


async def forget_results(session: AsyncSession, workspace: str, step_key: str) -> None:
    """Remove a step's answers, so that its next attempt asks anew."""
    statement = sa.delete(AiResult).where(
        col(AiResult.workspace) == workspace, col(AiResult.step_key) == step_key
    )
    await session.exec(statement)


async def cached(session: AsyncSession, workspace: str, key: str) -> dict[str, Any] | None:
    """Return the cached answer to a question, unless it has expired."""
    statement = select(AiCached).where(
        AiCached.workspace == workspace,
        AiCached.key == key,
        col(AiCached.expires_at) > sa.func.now(),
    )
    found = (await session.exec(statement)).first()
    return None if found is None else found.reply


async def keep_cached(
    session: AsyncSession, workspace: str, key: str, reply: dict[str, Any], ttl: timedelta
) -> None:
    """Cache an answer for `ttl`; a newer answer to the same question takes its place."""
    await _sweep(session, AiCached)
    row = AiCached(workspace=workspace, key=key, reply=reply, expires_at=now() + ttl)
    await _put(session, AiCached, row, ["workspace", "key"])


async def _put(session: AsyncSession, table: type[SQLModel], row: SQLModel, key: list[str]) -> None:
    inserting = insert(table).values(row.model_dump())
    changed = {name: inserting.excluded[name] for name in row.model_dump() if name not in key}
    await session.exec(inserting.on_conflict_do_update(index_elements=key, set_=changed))


async def _sweep(session: AsyncSession, table: type[AiResult] | type[AiCached]) -> None:
    """Remove a few expired rows; those that another transaction holds are left to it."""
    keys = sa.inspect(table).primary_key
    old = (
        sa.select(*keys)
        .where(col(table.expires_at) < sa.func.now())
        .limit(_SWEPT)
        .with_for_update(skip_locked=True)
    )
    await session.exec(sa.delete(table).where(sa.tuple_(*keys).in_(old)))
