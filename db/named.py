"""Which published definitions may name something: candidates for a look into their documents."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db.definitions import Definition, Version, VersionStatus


async def published_holding(
    session: AsyncSession, workspace: str, text: str
) -> Sequence[tuple[str, Version]]:
    """Return the published versions whose document holds an ASCII text anywhere, by their names.

    It reads every published document of the workspace: for rare deeds such as deleting.
    """
    document = sa.cast(col(Version.document), sa.Text)
    statement = (
        select(Definition.name, Version)
        .join(Version, col(Version.definition_id) == col(Definition.id))
        .where(
            Definition.workspace == workspace,
            Version.status == VersionStatus.PUBLISHED,
            sa.func.strpos(document, text) > 0,
        )
        .order_by(col(Definition.name), col(Version.version))
    )
    return [(name, version) for name, version in (await session.exec(statement)).all()]
