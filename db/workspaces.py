"""Workspaces: the tenants of an installation, each with rows that no other one sees."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Field, SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db.api_keys import ApiKey
from db.base import now
from db.definitions import Definition
from db.members import Member
from db.run_table import Run
from schemas.errors import ConflictError, NotFoundError


class Workspace(SQLModel, table=True):
    """One workspace; `workspace` is its name.

    The installation's own (`SOJOURN_WORKSPACE`) is there without a row.
    """

    __tablename__ = "workspaces"  # pyright: ignore[reportAssignmentType]

    workspace: str = Field(primary_key=True)
    title: str | None = None
    created_at: datetime = Field(default_factory=now)


async def create(session: AsyncSession, name: str, title: str | None) -> Workspace:
    """Add a workspace; raises ConflictError where the name is taken."""
    row = Workspace(workspace=name, title=title)
    statement = insert(Workspace).values(row.model_dump()).on_conflict_do_nothing()
    made = (await session.exec(statement.returning(col(Workspace.workspace)))).first()
    if made is None:
        raise ConflictError(f"there is a workspace named {name!r} already")
    return row


async def list_all(session: AsyncSession) -> Sequence[Workspace]:
    """Give all workspaces by name."""
    return (await session.exec(select(Workspace).order_by(col(Workspace.workspace)))).all()


async def get(session: AsyncSession, name: str) -> Workspace:
    """Give a workspace; raises NotFoundError."""
    found = await session.get(Workspace, name)
    if found is None:
        raise NotFoundError(f"there is no workspace named {name!r}")
    return found


async def rename(session: AsyncSession, name: str, title: str | None) -> Workspace:
    """Give a workspace another title; raises NotFoundError."""
    found = await get(session, name)
    found.title = title
    session.add(found)
    return found


async def delete(session: AsyncSession, name: str) -> None:
    """Delete an empty workspace with its keys and members; raises NotFoundError, ConflictError."""
    found = await get(session, name)
    for table in (Definition, Run):
        held = sa.select(sa.literal(1)).where(col(table.workspace) == name).limit(1)
        if (await (await session.connection()).execute(held)).first() is not None:
            raise ConflictError(
                f"the workspace {name!r} holds {table.__tablename__}", hint="delete them first"
            )
    for table in (ApiKey, Member):
        await session.exec(sa.delete(table).where(col(table.workspace) == name))
    await session.delete(found)


async def names(session: AsyncSession, home: str) -> list[str]:
    """Name every workspace, the installation's own first."""
    others = (await session.exec(select(Workspace.workspace).order_by(Workspace.workspace))).all()
    return [home, *(name for name in others if name != home)]
