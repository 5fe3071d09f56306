"""Targets of a mail's links: a click names a row here, so that it can lead nowhere else."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Field, SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession

from db.base import now


class MailLink(SQLModel, table=True):
    """One link of one mail: `id` is opaque, `url` the http or https target.

    `position` counts the mail's links from 0.
    """

    __tablename__ = "mail_links"  # pyright: ignore[reportAssignmentType]

    id: str = Field(primary_key=True)
    workspace: str
    message_id: str = Field(foreign_key="mail_messages.id", ondelete="CASCADE", index=True)
    url: str
    position: int
    created_at: datetime = Field(default_factory=now)


async def store(session: AsyncSession, links: Sequence[MailLink]) -> None:
    """Store links; those of an earlier attempt, which have the same ids, stay as they are."""
    if links:
        statement = insert(MailLink).values([link.model_dump() for link in links])
        await session.exec(statement.on_conflict_do_nothing(index_elements=["id"]))


async def find(session: AsyncSession, link_id: str) -> MailLink | None:
    """Give a link by its opaque id, of whatever workspace; None for an unknown one."""
    return await session.get(MailLink, link_id)
