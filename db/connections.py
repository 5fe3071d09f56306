"""Connections: stored access to outside systems, their secrets sealed."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Field, SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db.audit_hashes import changing_named
from db.base import JSON_TEXT, now
from db.ids import new_id
from db.sealing import bound_to
from schemas.errors import NotFoundError
from schemas.keyring import KeyRing, Sealed

_TABLE = "connections"


class Connection(SQLModel, table=True):
    """Access to an outside system: `sealed` holds its secrets, a JSON map of texts.

    `secret_fields` are the names of the secrets that are set, so that they can be shown without
    a key. `tested_at`, `test_ok` and `test_message` tell of the last test. Nothing is sent over a
    connection with `disabled_at`; `disabled_reason` says why.
    """

    __tablename__ = _TABLE  # pyright: ignore[reportAssignmentType]
    __table_args__ = (
        sa.UniqueConstraint("workspace", "name"),
        # What a rotation of the keys looks for.
        sa.Index(None, "key_id", "id"),
    )

    id: str = Field(default_factory=new_id, primary_key=True)
    workspace: str
    name: str
    kind: str
    config: dict[str, Any] = Field(sa_type=JSON_TEXT)
    secret_fields: list[str] = Field(default_factory=list, sa_type=JSON_TEXT)
    # Not in the representation: it is no use there.
    sealed: bytes = Field(repr=False)
    key_id: str
    created_at: datetime = Field(default_factory=now)
    updated_at: datetime = Field(default_factory=now)
    tested_at: datetime | None = None
    test_ok: bool | None = None
    test_message: str | None = None
    disabled_at: datetime | None = None
    disabled_reason: str | None = None


async def get(session: AsyncSession, workspace: str, name: str) -> Connection:
    """Return a connection; raises NotFoundError."""
    found = await find(session, workspace, name)
    if found is None:
        raise _no_connection(name)
    return found


async def find(session: AsyncSession, workspace: str, name: str) -> Connection | None:
    """Return a connection, or None."""
    statement = select(Connection).where(Connection.workspace == workspace, Connection.name == name)
    return (await session.exec(statement)).first()


async def known_names(session: AsyncSession, workspace: str, names: Sequence[str]) -> set[str]:
    """Return those of the names that connections have."""
    statement = select(Connection.name).where(
        Connection.workspace == workspace, col(Connection.name).in_(names)
    )
    return set((await session.exec(statement)).all())


async def list_all(
    session: AsyncSession, workspace: str, *, kind: str | None = None
) -> list[Connection]:
    """Return all connections by name, or those of one kind."""
    statement = select(Connection).where(Connection.workspace == workspace)
    if kind is not None:
        statement = statement.where(Connection.kind == kind)
    return list((await session.exec(statement.order_by(col(Connection.name)))).all())


async def put(
    session: AsyncSession,
    workspace: str,
    name: str,
    *,
    kind: str,
    config: dict[str, Any],
    secrets: dict[str, str],
    keyring: KeyRing,
) -> Connection:
    """Create or replace a connection with all its secrets.

    It is to be tested anew, and it is enabled.
    """
    sealed = keyring.seal(json.dumps(secrets).encode(), bound_to(workspace, _TABLE, name))
    row = Connection(
        workspace=workspace,
        name=name,
        kind=kind,
        config=config,
        secret_fields=sorted(secrets),
        sealed=sealed.data,
        key_id=sealed.key_id,
    )
    kept = {"id", "workspace", "name", "created_at"}
    statement = (
        insert(Connection)
        .values(row.model_dump())
        .on_conflict_do_update(
            index_elements=["workspace", "name"], set_=row.model_dump(exclude=kept)
        )
        .returning(Connection)
        .execution_options(populate_existing=True)
    )
    return (await session.exec(statement)).scalars().one()


def open_secrets(row: Connection, keyring: KeyRing) -> dict[str, str]:
    """Open a connection's secrets; raises SealError."""
    aad = bound_to(row.workspace, _TABLE, row.name)
    return json.loads(keyring.open(Sealed(row.key_id, row.sealed), aad))


async def note_test(
    session: AsyncSession, workspace: str, name: str, *, ok: bool, message: str
) -> None:
    """Keep how the last test went; nothing happens if the connection is gone."""
    statement = (
        sa.update(Connection)
        .where(col(Connection.workspace) == workspace, col(Connection.name) == name)
        .values(tested_at=now(), test_ok=ok, test_message=message)
    )
    await session.exec(statement)


async def disable(
    session: AsyncSession, workspace: str, name: str, *, seen: datetime, reason: str, actor: str
) -> None:
    """Have nothing more sent over a connection, unless it was replaced since `seen`.

    That is its `updated_at` when it was read: what is said of the one before is not said of it.
    """
    statement = (
        sa.update(Connection)
        .where(
            col(Connection.workspace) == workspace,
            col(Connection.name) == name,
            col(Connection.updated_at) == seen,
            col(Connection.disabled_at).is_(None),
        )
        .values(disabled_at=now(), disabled_reason=reason)
    )
    async with changing_named(
        session,
        workspace,
        Connection,
        name,
        actor=actor,
        action="connection.disable",
        data={"reason": reason},
        only_if_changed=True,
    ):
        await session.exec(statement)


async def enable(session: AsyncSession, workspace: str, name: str, *, actor: str) -> Connection:
    """Have a connection used again; raises NotFoundError. An enabled one is left as it is."""
    async with changing_named(
        session, workspace, Connection, name, actor=actor, action="connection.enable"
    ):
        row = await get(session, workspace, name)
        if row.disabled_at is not None:
            row.disabled_at = row.disabled_reason = None
            session.add(row)
    return row


async def delete(session: AsyncSession, workspace: str, name: str) -> None:
    """Delete a connection; raises NotFoundError."""
    statement = sa.delete(Connection).where(
        col(Connection.workspace) == workspace, col(Connection.name) == name
    )
    if (await session.exec(statement)).rowcount == 0:
        raise _no_connection(name)


def _no_connection(name: str) -> NotFoundError:
    return NotFoundError(f"there is no connection named {name!r}")
