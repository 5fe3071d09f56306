"""Requests for a mail's pixel and links, as they came: those of people and those of machines."""

from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from db.base import enum_type, now
from db.ids import new_id


class HitKind(StrEnum):
    """What was asked for: the pixel, or a link."""

    OPENED = "opened"
    CLICKED = "clicked"


class MailHit(SQLModel, table=True):
    """One request for the pixel or a link of a mail.

    `bot` says why it counts for nothing (`head`, `prefetch`, `too_soon`, `apple_mpp`, `scanner`),
    None for one that counts. `user_agent` is what the client calls itself.
    """

    __tablename__ = "mail_hits"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (
        sa.Index(None, "message_id", "at"),
        sa.Index(None, "workspace", "created_at"),
    )

    id: str = Field(default_factory=new_id, primary_key=True)
    workspace: str
    message_id: str = Field(foreign_key="mail_messages.id", ondelete="CASCADE")
    kind: HitKind = Field(sa_type=enum_type(HitKind))
    link_id: str | None = None
    at: datetime
    bot: str | None = None
    user_agent: str | None = None
    created_at: datetime = Field(default_factory=now)
