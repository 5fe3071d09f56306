"""The hashes of audit entries: what a stored thing was before a change, and what it is after it.

`after_hash` of one entry is `before_hash` of the next one about the same target, unless something
has changed it beside the audit.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from sqlmodel import SQLModel, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db import audit, locks

# What counts of each table's rows: what the API shows and changes leave an entry for. Not what is
# sealed, nor what happens to a row by itself (last uses, errors, tests). When a secret, a token or
# a sealed map was replaced is in `updated_at`.
COUNTED: Mapping[str, tuple[str, ...]] = {
    "ai_budgets": ("daily_usd", "daily_tokens"),
    "api_keys": (
        *("id", "name", "last4", "role", "scopes", "grants", "created_by", "created_at"),
        *("expires_at", "revoked_at", "rotated_to"),
    ),
    "connections": (
        *("name", "kind", "config", "secret_fields", "disabled_at", "disabled_reason"),
        *("created_at", "updated_at"),
    ),
    "definition_versions": (
        *("version", "status", "document", "source", "created_at", "published_at"),
        "deprecated_at",
    ),
    "definitions": (
        *("name", "title", "active_version", "latest_version", "created_at", "updated_at"),
    ),
    "forms": (
        *("name", "definition", "title", "fields", "mapping", "public_key"),
        *("created_at", "updated_at"),
    ),
    "mail_inboxes": ("name", "kind", "connection", "enabled", "created_at", "updated_at"),
    "members": ("subject", "role", "grants", "created_by", "created_at"),
    "secrets": ("name", "created_at", "updated_at"),
    "templates": ("name", "version", "subject", "text", "html", "created_at", "updated_at"),
    "triggers": (
        *("id", "definition", "kind", "event_type", "where", "input", "config", "enabled"),
        *("created_at", "updated_at"),
    ),
    "workspaces": ("workspace", "title", "created_at"),
}


def counted(row: SQLModel) -> dict[str, Any]:
    """Give what counts of a row."""
    return row.model_dump(include=set(COUNTED[str(row.__tablename__)]))


async def stored(
    session: AsyncSession, table: type[SQLModel], key: Mapping[str, Any], *, hold: bool = False
) -> dict[str, Any] | None:
    """Give what counts of the row with these values, as it is stored; None where there is none.

    With `hold` nobody else changes the row until the transaction ends.
    """
    statement = select(table).filter_by(**key).execution_options(populate_existing=True)
    if hold:
        statement = statement.with_for_update()
    row = (await session.exec(statement)).first()
    return None if row is None else counted(row)


@asynccontextmanager
async def changing(
    session: AsyncSession,
    workspace: str,
    table: type[SQLModel],
    key: Mapping[str, Any],
    *,
    actor: str,
    action: str,
    subject: str,
    data: dict[str, Any] | None = None,
    many: bool = False,
    only_if_changed: bool = False,
) -> AsyncIterator[None]:
    """Add an entry for what the block does to the row of a table with these values.

    Two that make the same row are put in order, except where `many` are changed in one transaction:
    each would hold a lock in memory. A block that raises leaves no entry.
    """
    before = await stored(session, table, key, hold=True)
    if before is None and not many:
        await locks.lock(session, f"audit:{table.__tablename__}:{workspace}:{subject}")
        before = await stored(session, table, key, hold=True)
    yield
    await session.flush()
    after = await stored(session, table, key)
    if only_if_changed and before == after:
        return
    audit.add(
        session,
        workspace,
        actor=actor,
        action=action,
        subject=subject,
        data=data,
        before=before,
        after=after,
    )


def changing_named(
    session: AsyncSession,
    workspace: str,
    table: type[SQLModel],
    name: str,
    *,
    actor: str,
    action: str,
    data: dict[str, Any] | None = None,
    many: bool = False,
    only_if_changed: bool = False,
) -> AbstractAsyncContextManager[None]:
    """Add an entry for what the block does to what has this name in a workspace."""
    return changing(
        session,
        workspace,
        table,
        {"workspace": workspace, "name": name},
        actor=actor,
        action=action,
        subject=name,
        data=data,
        many=many,
        only_if_changed=only_if_changed,
    )
