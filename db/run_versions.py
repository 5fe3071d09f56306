"""Open runs by the version of their definition."""

import sqlalchemy as sa
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db.pages import Page, cut, decode_cursor, page_size
from db.run_table import OPEN, Run


async def open_runs(
    session: AsyncSession,
    workspace: str,
    definition: str,
    version: int,
    *,
    cursor: str | None = None,
    limit: int,
) -> Page[Run]:
    """Return a page of a version's open runs, newest first, child runs included.

    Raises InputError for a bad cursor or limit.
    """
    statement = select(Run).where(*_open_of(workspace, definition, version))
    if cursor is not None:
        place = sa.tuple_(col(Run.created_at), col(Run.id))
        statement = statement.where(place < sa.tuple_(*decode_cursor(cursor)))
    statement = statement.order_by(col(Run.created_at).desc(), col(Run.id).desc())
    rows = (await session.exec(statement.limit(page_size(limit) + 1))).all()
    return cut(list(rows), limit)


async def count_open(session: AsyncSession, workspace: str, definition: str, version: int) -> int:
    """Count a version's open runs."""
    statement = select(sa.func.count()).select_from(Run)
    return (await session.exec(statement.where(*_open_of(workspace, definition, version)))).one()


def _open_of(workspace: str, definition: str, version: int) -> list[sa.ColumnElement[bool]]:
    return [
        col(Run.workspace) == workspace,
        col(Run.definition) == definition,
        col(Run.version) == version,
        col(Run.status).in_(OPEN),
    ]
