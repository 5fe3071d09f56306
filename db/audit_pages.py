"""Pages of the audit, newest first."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db.audit import AuditEntry
from db.pages import DEFAULT_PAGE, Page, cut, decode_cursor, page_size


@dataclass(frozen=True)
class Wanted:
    """Which entries; None stands for any. `action` may be a beginning that ends in `.`."""

    actor: str | None = None
    action: str | None = None
    subject: str | None = None
    since: datetime | None = None
    until: datetime | None = None


async def list_page(
    session: AsyncSession,
    workspace: str,
    wanted: Wanted,
    *,
    cursor: str | None = None,
    limit: int = DEFAULT_PAGE,
) -> Page[AuditEntry]:
    """Return a page of entries; raises InputError for a bad cursor or limit."""
    size = page_size(limit)
    place = (col(AuditEntry.created_at), col(AuditEntry.id))
    statement = select(AuditEntry).where(AuditEntry.workspace == workspace)
    if cursor is not None:
        statement = statement.where(sa.tuple_(*place) < sa.tuple_(*decode_cursor(cursor)))
    if wanted.actor is not None:
        statement = statement.where(AuditEntry.actor == wanted.actor)
    if wanted.action is not None:
        action = col(AuditEntry.action)
        whole = not wanted.action.endswith(".")
        statement = statement.where(
            action == wanted.action if whole else action.startswith(wanted.action, autoescape=True)
        )
    if wanted.subject is not None:
        statement = statement.where(AuditEntry.subject == wanted.subject)
    if wanted.since is not None:
        statement = statement.where(place[0] >= wanted.since)
    if wanted.until is not None:
        statement = statement.where(place[0] < wanted.until)
    newest = statement.order_by(place[0].desc(), place[1].desc()).limit(size + 1)
    return cut((await session.exec(newest)).all(), size)
