"""Where replies and bounces come in: addresses that providers post to, and mailboxes we read."""

import hashlib
from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Field, SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db.base import clean_text, enum_type, now
from db.ids import new_id
from schemas.errors import ConflictError, NotFoundError
from schemas.inbound_mail import InboxKind


class MailInbox(SQLModel, table=True):
    """One way in.

    `token_hash` is the SHA-256, in hex, of a webhook's token. A mailbox is read through the stored
    `connection`: up to `last_uid` under `uidvalidity` (RFC 9051, 2.3.1.1) it has been.
    """

    __tablename__ = "mail_inboxes"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (
        sa.UniqueConstraint("workspace", "name"),
        sa.Index(
            "uq_mail_inboxes_token",
            "token_hash",
            unique=True,
            postgresql_where=sa.text("token_hash IS NOT NULL"),
        ),
    )

    id: str = Field(default_factory=new_id, primary_key=True)
    workspace: str
    name: str
    kind: InboxKind = Field(sa_type=enum_type(InboxKind))
    connection: str | None = None
    token_hash: str | None = None
    enabled: bool = True
    uidvalidity: int | None = Field(default=None, sa_type=sa.BigInteger)
    last_uid: int = Field(default=0, sa_type=sa.BigInteger)
    received: int = 0
    last_received_at: datetime | None = None
    polled_at: datetime | None = None
    last_error: str | None = None
    created_at: datetime = Field(default_factory=now)
    updated_at: datetime = Field(default_factory=now)


def hash_token(token: str) -> str:
    """Give what is stored of a token: its SHA-256, in hex."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


async def put(
    session: AsyncSession,
    workspace: str,
    name: str,
    kind: InboxKind,
    *,
    connection: str | None,
    enabled: bool,
    token: str,
) -> tuple[MailInbox, bool]:
    """Create or change an inbox; gives it, and whether it is new.

    Only a new webhook takes the `token`. Another connection is read from its beginning. Raises
    ConflictError where the inbox is of another kind.
    """
    row = MailInbox(
        workspace=workspace,
        name=name,
        kind=kind,
        connection=connection,
        enabled=enabled,
        token_hash=hash_token(token) if kind is InboxKind.WEBHOOK else None,
    )
    inserting = (
        insert(MailInbox)
        .values(row.model_dump())
        .on_conflict_do_nothing(index_elements=["workspace", "name"])
        .returning(MailInbox)
    )
    made = (await session.exec(inserting)).scalars().first()
    if made is not None:
        return made, True
    found = await get(session, workspace, name, lock=True)
    if found.kind is not kind:
        raise ConflictError(f"the inbox {name!r} is of kind {found.kind.value}")
    if found.connection != connection:
        found.connection, found.uidvalidity, found.last_uid = connection, None, 0
    found.enabled, found.updated_at = enabled, now()
    session.add(found)
    await session.flush()
    return found, False


async def rotate(session: AsyncSession, workspace: str, name: str, token: str) -> MailInbox:
    """Replace a webhook's token; raises NotFoundError, ConflictError for one without."""
    found = await get(session, workspace, name, lock=True)
    if found.kind is not InboxKind.WEBHOOK:
        raise ConflictError(f"the inbox {name!r} has no token: it is of kind {found.kind.value}")
    found.token_hash, found.updated_at = hash_token(token), now()
    session.add(found)
    await session.flush()
    return found


async def get(session: AsyncSession, workspace: str, name: str, *, lock: bool = False) -> MailInbox:
    """Give an inbox; raises NotFoundError."""
    statement = select(MailInbox).where(MailInbox.workspace == workspace, MailInbox.name == name)
    if lock:
        statement = statement.with_for_update().execution_options(populate_existing=True)
    found = (await session.exec(statement)).first()
    if found is None:
        raise NotFoundError(f"there is no inbox {name!r}")
    return found


async def by_token(session: AsyncSession, token: str) -> MailInbox:
    """Give the inbox of a token, of whatever workspace; raises NotFoundError."""
    statement = select(MailInbox).where(MailInbox.token_hash == hash_token(token))
    found = (await session.exec(statement)).first()
    if found is None:
        raise NotFoundError("there is no such inbox", hint="the token was never valid, or rotated")
    return found


async def list_all(
    session: AsyncSession, workspace: str, *, kind: InboxKind | None = None
) -> Sequence[MailInbox]:
    """Give all inboxes by name, or those of one kind."""
    statement = select(MailInbox).where(MailInbox.workspace == workspace)
    if kind is not None:
        statement = statement.where(MailInbox.kind == kind)
    return (await session.exec(statement.order_by(col(MailInbox.name)))).all()


async def delete(session: AsyncSession, workspace: str, name: str) -> None:
    """Delete an inbox; what came in through it stays. Raises NotFoundError."""
    statement = sa.delete(MailInbox).where(
        col(MailInbox.workspace) == workspace, col(MailInbox.name) == name
    )
    if (await session.exec(statement)).rowcount == 0:
        raise NotFoundError(f"there is no inbox {name!r}")


async def note_received(session: AsyncSession, inbox_id: str) -> None:
    """Count a mail that came in."""
    statement = (
        sa.update(MailInbox)
        .where(col(MailInbox.id) == inbox_id)
        .values(received=col(MailInbox.received) + 1, last_received_at=now())
        .execution_options(synchronize_session=False)
    )
    await session.exec(statement)


async def note_poll(session: AsyncSession, inbox_id: str, error: str | None) -> None:
    """Keep that a mailbox was read, and what was wrong."""
    values = {"last_error": clean_text(error)}
    # A failed pass must not move the time from which a new mailbox is read.
    if error is None:
        values["polled_at"] = now()  # pyright: ignore[reportArgumentType]
    statement = (
        sa.update(MailInbox)
        .where(col(MailInbox.id) == inbox_id)
        .values(values)
        .execution_options(synchronize_session=False)
    )
    await session.exec(statement)


async def begin_anew(
    session: AsyncSession, inbox_id: str, *, before: int | None, uidvalidity: int
) -> bool:
    """Note a mailbox's new UIDVALIDITY: no UID is known; False if another process was first."""
    statement = (
        sa.update(MailInbox)
        .where(
            col(MailInbox.id) == inbox_id, col(MailInbox.uidvalidity).is_not_distinct_from(before)
        )
        .values(uidvalidity=uidvalidity, last_uid=0)
        .execution_options(synchronize_session=False)
    )
    return (await session.exec(statement)).rowcount == 1


async def advance(
    session: AsyncSession, inbox_id: str, *, uidvalidity: int, before: int, uid: int
) -> bool:
    """Move on from UID `before` to `uid`; False if another process has moved it.

    Done in the transaction that takes the mail in: neither is without the other.
    """
    statement = (
        sa.update(MailInbox)
        .where(
            col(MailInbox.id) == inbox_id,
            col(MailInbox.uidvalidity) == uidvalidity,
            col(MailInbox.last_uid) == before,
        )
        .values(last_uid=uid)
        .execution_options(synchronize_session=False)
    )
    return (await session.exec(statement)).rowcount == 1
