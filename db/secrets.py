"""Secrets: single sealed values that definitions name as `{{ secrets.NAME }}`."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Field, SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db.base import now
from db.ids import new_id
from db.sealing import bound_to
from schemas.errors import NotFoundError
from schemas.keyring import KeyRing, Sealed

_TABLE = "secrets"


class Secret(SQLModel, table=True):
    """One sealed text."""

    __tablename__ = _TABLE  # pyright: ignore[reportAssignmentType]
    __table_args__ = (
        sa.UniqueConstraint("workspace", "name"),
        # What a rotation of the keys looks for.
        sa.Index(None, "key_id", "id"),
    )

    id: str = Field(default_factory=new_id, primary_key=True)
    workspace: str
    name: str
    # Not in the representation: it is no use there.
    sealed: bytes = Field(repr=False)
    key_id: str
    created_at: datetime = Field(default_factory=now)
    updated_at: datetime = Field(default_factory=now)


async def put(
    session: AsyncSession, workspace: str, name: str, value: str, keyring: KeyRing
) -> Secret:
    """Create or replace a secret."""
    sealed = keyring.seal(value.encode(), bound_to(workspace, _TABLE, name))
    row = Secret(workspace=workspace, name=name, sealed=sealed.data, key_id=sealed.key_id)
    kept = {"id", "workspace", "name", "created_at"}
    statement = (
        insert(Secret)
        .values(row.model_dump())
        .on_conflict_do_update(
            index_elements=["workspace", "name"], set_=row.model_dump(exclude=kept)
        )
        .returning(Secret)
        .execution_options(populate_existing=True)
    )
    return (await session.exec(statement)).scalars().one()


async def find_all(session: AsyncSession, workspace: str, names: Sequence[str]) -> list[Secret]:
    """Return the secrets that have one of the names."""
    statement = select(Secret).where(Secret.workspace == workspace, col(Secret.name).in_(names))
    return list((await session.exec(statement)).all())


async def known_names(session: AsyncSession, workspace: str, names: Sequence[str]) -> set[str]:
    """Return those of the names that secrets have."""
    statement = select(Secret.name).where(
        Secret.workspace == workspace, col(Secret.name).in_(names)
    )
    return set((await session.exec(statement)).all())


async def list_all(session: AsyncSession, workspace: str) -> list[Secret]:
    """Return all secrets by name, still sealed."""
    statement = select(Secret).where(Secret.workspace == workspace).order_by(col(Secret.name))
    return list((await session.exec(statement)).all())


def open_secret(row: Secret, keyring: KeyRing) -> str:
    """Open a secret; raises SealError."""
    aad = bound_to(row.workspace, _TABLE, row.name)
    return keyring.open(Sealed(row.key_id, row.sealed), aad).decode()


async def delete(session: AsyncSession, workspace: str, name: str) -> None:
    """Delete a secret; raises NotFoundError."""
    statement = sa.delete(Secret).where(
        col(Secret.workspace) == workspace, col(Secret.name) == name
    )
    if (await session.exec(statement)).rowcount == 0:
        raise NotFoundError(f"there is no secret named {name!r}")
