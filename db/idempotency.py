"""Idempotency keys: the same request with the same key makes one run."""

import hashlib
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Field, SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db.base import dump_json, now
from schemas.errors import ConflictError, ErrorCode, UnavailableError


class IdempotencyKey(SQLModel, table=True):
    """Which run a key has made; `fingerprint` is the hash of the request it came with."""

    __tablename__ = "idempotency_keys"  # pyright: ignore[reportAssignmentType]

    workspace: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    fingerprint: str
    # Checked at commit: the key is claimed before the run is inserted.
    run_id: str = Field(
        sa_column=sa.Column(
            sa.String,
            sa.ForeignKey("runs.id", ondelete="CASCADE", deferrable=True, initially="DEFERRED"),
            nullable=False,
            index=True,
        )
    )
    created_at: datetime = Field(default_factory=now, index=True)


def fingerprint(*parts: Any) -> str:
    """Return the SHA-256, in hex, of the parts of a request as JSON."""
    return hashlib.sha256(dump_json(parts).encode()).hexdigest()


async def claim(
    session: AsyncSession, workspace: str, key: str, fingerprint: str, run_id: str
) -> str:
    """Bind `key` to `run_id`, or return the run that has it; waits for a rival transaction.

    The caller is the first if it gets its own `run_id` back, and must insert that run in the same
    transaction. Raises ConflictError if the key came with another request before.
    """
    row = IdempotencyKey(workspace=workspace, key=key, fingerprint=fingerprint, run_id=run_id)
    claiming = (
        insert(IdempotencyKey)
        .values(row.model_dump())
        .on_conflict_do_nothing()
        .returning(col(IdempotencyKey.run_id))
    )
    if (await session.exec(claiming)).first() is not None:
        return run_id
    holder = select(IdempotencyKey).where(
        IdempotencyKey.workspace == workspace, IdempotencyKey.key == key
    )
    found = (await session.exec(holder)).first()
    if found is None:
        # Its run was removed between the two statements, because it could not be started.
        raise UnavailableError(
            "the run that this idempotency key belongs to was just withdrawn",
            code=ErrorCode.DATABASE_UNAVAILABLE,
            retry_after=1,
        )
    if found.fingerprint != fingerprint:
        raise ConflictError(
            "this idempotency key was used with another request",
            hint="use a new key for a new request",
        )
    return found.run_id
