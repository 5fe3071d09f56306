"""Who did what: rows that are only ever added, in the transaction of the deed itself."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel
from pydantic_core import to_jsonable_python
from sqlmodel import Field, SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession

from db.base import JSON_TEXT, now
from db.ids import new_id

_NEXT = sa.text("nextval('audit_entries_seq'::regclass)")


class AuditEntry(SQLModel, table=True):
    """One deed: `actor` did `action` (run.start) to `subject` (its id or name).

    `request_id` and `ip` (the client as the server saw it) are there for deeds of requests. The
    hashes are SHA-256 of the subject's state before and after, as canonical JSON, where there is
    one. `seq` orders the entries as seals cover them; those that were there before seals have none.
    """

    __tablename__ = "audit_entries"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (sa.Index(None, "workspace", "created_at", "id"),)
    # Nobody asks for the number that an entry was given.
    __mapper_args__ = {"eager_defaults": False}

    id: str = Field(default_factory=new_id, primary_key=True)
    workspace: str
    actor: str
    action: str
    subject: str
    data: dict[str, Any] | None = Field(default=None, sa_type=JSON_TEXT)
    created_at: datetime = Field(default_factory=now)
    request_id: str | None = None
    ip: str | None = None
    before_hash: str | None = None
    after_hash: str | None = None
    seq: int | None = Field(
        default=None,
        index=True,
        sa_type=sa.BigInteger,
        sa_column_kwargs={"server_default": _NEXT},
    )


@dataclass
class Origin:
    """The request that deeds come from, and how many entries it has added so far."""

    request_id: str | None
    ip: str | None
    entries: int = 0


_origin: ContextVar[Origin | None] = ContextVar("sojourn_audit_origin", default=None)


@contextmanager
def request(request_id: str, ip: str | None) -> Iterator[None]:
    """Have the entries of a block say which request they come from."""
    token = _origin.set(Origin(request_id, ip))
    try:
        yield
    finally:
        _origin.reset(token)


def written() -> int:
    """Return how many entries the present request has added; 0 outside of one."""
    origin = _origin.get()
    return 0 if origin is None else origin.entries


def hash_of(state: Any) -> str:
    """Return the SHA-256 of a JSON value or model, in hexadecimal, whatever its order of keys."""
    plain = state.model_dump(mode="json") if isinstance(state, BaseModel) else state
    text = json.dumps(
        plain, sort_keys=True, separators=(",", ":"), default=to_jsonable_python, allow_nan=True
    )
    return hashlib.sha256(text.encode()).hexdigest()


def add(
    session: AsyncSession,
    workspace: str,
    *,
    actor: str,
    action: str,
    subject: str,
    data: dict[str, Any] | None = None,
    before: Any = None,
    after: Any = None,
) -> None:
    """Add an entry; it is written when the session is flushed or committed.

    `before` and `after` are the subject's states, of which a hash is kept; never give a secret's
    value, which could be guessed from its hash.
    """
    origin = _origin.get()
    if origin is not None:
        origin.entries += 1
    session.add(
        AuditEntry(
            workspace=workspace,
            actor=actor,
            action=action,
            subject=subject,
            data=data,
            request_id=None if origin is None else origin.request_id,
            ip=None if origin is None else origin.ip,
            before_hash=None if before is None else hash_of(before),
            after_hash=None if after is None else hash_of(after),
        )
    )
