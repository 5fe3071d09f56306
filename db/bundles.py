"""What bundles are made of, read in bulk: definitions with the version shown, forms, triggers."""

from collections.abc import Collection, Sequence

import sqlalchemy as sa
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db.definitions import Definition, Version
from db.forms import Form
from db.templates import Template
from db.trigger_table import Trigger

Names = Collection[str] | None


async def definitions(
    session: AsyncSession, workspace: str, names: Names, *, limit: int
) -> list[tuple[Definition, Version]]:
    """Return definitions with their active version, or the latest, by name; all without names."""
    shown = sa.func.coalesce(col(Definition.active_version), col(Definition.latest_version))
    statement = (
        select(Definition, Version)
        .join(
            Version,
            sa.and_(col(Version.definition_id) == Definition.id, col(Version.version) == shown),
        )
        .where(Definition.workspace == workspace)
        .order_by(col(Definition.name))
        .limit(limit)
    )
    if names is not None:
        statement = statement.where(col(Definition.name).in_(names))
    return [(row, version) for row, version in (await session.exec(statement)).all()]


async def templates(
    session: AsyncSession, workspace: str, names: Names, *, limit: int
) -> Sequence[Template]:
    """Return templates by name; all without names."""
    statement = select(Template).where(Template.workspace == workspace)
    if names is not None:
        statement = statement.where(col(Template.name).in_(names))
    return (await session.exec(statement.order_by(col(Template.name)).limit(limit))).all()


async def forms(
    session: AsyncSession, workspace: str, definitions: Collection[str], *, limit: int
) -> Sequence[Form]:
    """Return the forms that start these definitions, by name."""
    statement = (
        select(Form)
        .where(Form.workspace == workspace, col(Form.definition).in_(definitions))
        .order_by(col(Form.name))
        .limit(limit)
    )
    return (await session.exec(statement)).all()


async def forms_named(
    session: AsyncSession, workspace: str, names: Collection[str]
) -> Sequence[Form]:
    """Return the forms with these names."""
    statement = select(Form).where(Form.workspace == workspace, col(Form.name).in_(names))
    return (await session.exec(statement)).all()


async def triggers(
    session: AsyncSession, workspace: str, definitions: Collection[str], *, limit: int
) -> Sequence[Trigger]:
    """Return the triggers of these definitions."""
    statement = (
        select(Trigger)
        .where(Trigger.workspace == workspace, col(Trigger.definition).in_(definitions))
        .order_by(col(Trigger.definition), col(Trigger.id))
        .limit(limit)
    )
    return (await session.exec(statement)).all()
