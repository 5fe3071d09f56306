"""Members: the users of a workspace whom the issuer's tokens do not give a role."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Field, SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db.base import JSON_TEXT, enum_type, now
from schemas.errors import NotFoundError
from schemas.roles import Role


class Member(SQLModel, table=True):
    """A user, by the `sub` of its tokens, in a workspace; `grants` has roles by definition."""

    __tablename__ = "members"  # pyright: ignore[reportAssignmentType]

    workspace: str = Field(primary_key=True)
    subject: str = Field(primary_key=True, index=True)
    role: Role = Field(sa_type=enum_type(Role))
    grants: dict[str, str] = Field(default_factory=dict, sa_type=JSON_TEXT)
    created_by: str
    created_at: datetime = Field(default_factory=now)


async def put(session: AsyncSession, member: Member) -> Member:
    """Add a member, or change its role and grants."""
    statement = (
        insert(Member)
        .values(member.model_dump())
        .on_conflict_do_update(
            index_elements=["workspace", "subject"],
            set_=member.model_dump(include={"role", "grants"}),
        )
        .returning(Member)
        .execution_options(populate_existing=True)
    )
    return (await session.exec(statement)).scalars().one()


async def of_subject(session: AsyncSession, subject: str) -> Sequence[Member]:
    """Give the memberships of a user, in whatever workspaces."""
    return (await session.exec(select(Member).where(Member.subject == subject))).all()


async def list_all(session: AsyncSession, workspace: str) -> Sequence[Member]:
    """Give the members of a workspace by subject."""
    statement = select(Member).where(Member.workspace == workspace).order_by(col(Member.subject))
    return (await session.exec(statement)).all()


async def delete(session: AsyncSession, workspace: str, subject: str) -> None:
    """Remove a member; raises NotFoundError."""
    statement = sa.delete(Member).where(
        col(Member.workspace) == workspace, col(Member.subject) == subject
    )
    if (await session.exec(statement)).rowcount == 0:
        raise NotFoundError(f"there is no member {subject!r}")
