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
from db.run_table import DUE_SQL, WAITING_SQL, Run
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
    """Add a workspace; raises ConflictError where the name is taken, or ours in Temporal."""
    if name == "sojourn" or name.startswith("sojourn-"):
        # Ids of our own workflows begin so where those of runs have the workspace.
        raise ConflictError("names that begin with 'sojourn' are kept for the service itself")
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


_BUSY = sa.text(f"""
SELECT name FROM unnest(CAST(:names AS text[])) WITH ORDINALITY AS every(name, place)
WHERE EXISTS (SELECT FROM runs WHERE workspace = name AND {DUE_SQL.text} AND due_at <= :now)
    OR EXISTS (SELECT FROM runs WHERE workspace = name AND {WAITING_SQL.text})
    OR EXISTS (
        SELECT FROM event_deliveries
        WHERE workspace = name AND delivered_at IS NULL AND due_at <= :now
    )
ORDER BY place
""")  # noqa: S608 - constants


async def busy(session: AsyncSession, names: Sequence[str]) -> list[str]:
    """Name those workspaces for which an event or a start is left to be delivered."""
    given = {"names": list(names), "now": now()}
    return list((await (await session.connection()).execute(_BUSY, given)).scalars())


async def names(session: AsyncSession, home: str) -> list[str]:
    """Name every workspace, the installation's own first."""
    others = (await session.exec(select(Workspace.workspace).order_by(Workspace.workspace))).all()
    return [home, *(name for name in others if name != home)]
