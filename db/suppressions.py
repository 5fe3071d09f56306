"""Addresses that get no mail: unsubscribed, bounced, complained, or put there by hand."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Field, SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db.base import enum_type, now
from db.ids import new_id
from db.leads import normalise_email
from db.pages import DEFAULT_PAGE, Page, cut, decode_cursor, page_size
from schemas.errors import NotFoundError


class SuppressionReason(StrEnum):
    """Why an address gets no mail."""

    UNSUBSCRIBE = "unsubscribe"
    BOUNCE = "bounce"
    COMPLAINT = "complaint"
    MANUAL = "manual"


class Suppression(SQLModel, table=True):
    """One address, normalised; `source` says where the word came from (`one-click`, `api`)."""

    __tablename__ = "suppressions"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (
        sa.UniqueConstraint("workspace", "address"),
        sa.Index(None, "workspace", "created_at", "id"),
    )

    id: str = Field(default_factory=new_id, primary_key=True)
    workspace: str
    address: str
    reason: SuppressionReason = Field(sa_type=enum_type(SuppressionReason))
    source: str
    created_at: datetime = Field(default_factory=now)


async def add(
    session: AsyncSession,
    workspace: str,
    address: str,
    reason: SuppressionReason,
    *,
    source: str,
) -> bool:
    """Suppress an address; False if it was suppressed already, for whatever reason."""
    row = Suppression(
        workspace=workspace, address=normalise_email(address), reason=reason, source=source
    )
    statement = (
        insert(Suppression)
        .values(row.model_dump())
        .on_conflict_do_nothing(index_elements=["workspace", "address"])
        .returning(col(Suppression.id))
    )
    return (await session.exec(statement)).first() is not None


async def get(session: AsyncSession, workspace: str, address: str) -> Suppression:
    """Give the entry of an address; raises NotFoundError."""
    statement = select(Suppression).where(
        Suppression.workspace == workspace, Suppression.address == normalise_email(address)
    )
    found = (await session.exec(statement)).first()
    if found is None:
        raise NotFoundError("this address is not suppressed")
    return found


async def remove(session: AsyncSession, workspace: str, address: str) -> None:
    """Let an address get mail again; raises NotFoundError where it was not suppressed."""
    statement = sa.delete(Suppression).where(
        col(Suppression.workspace) == workspace,
        col(Suppression.address) == normalise_email(address),
    )
    if (await session.exec(statement)).rowcount == 0:
        raise NotFoundError("this address is not suppressed")


async def among(session: AsyncSession, workspace: str, addresses: Iterable[str]) -> set[str]:
    """Give those of the addresses, normalised, that are suppressed."""
    wanted = {normalise_email(address) for address in addresses}
    statement = select(Suppression.address).where(
        Suppression.workspace == workspace, col(Suppression.address).in_(wanted)
    )
    return set((await session.exec(statement)).all())


async def list_page(
    session: AsyncSession,
    workspace: str,
    *,
    reason: SuppressionReason | None = None,
    cursor: str | None = None,
    limit: int = DEFAULT_PAGE,
) -> Page[Suppression]:
    """Give a page of the list, newest first; InputError for a bad cursor or limit."""
    statement = select(Suppression).where(Suppression.workspace == workspace)
    if reason is not None:
        statement = statement.where(Suppression.reason == reason)
    if cursor is not None:
        place = sa.tuple_(col(Suppression.created_at), col(Suppression.id))
        statement = statement.where(place < sa.tuple_(*decode_cursor(cursor)))
    statement = statement.order_by(
        col(Suppression.created_at).desc(), col(Suppression.id).desc()
    ).limit(page_size(limit) + 1)
    return cut((await session.exec(statement)).all(), limit)
