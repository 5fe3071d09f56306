"""Stored email templates: the newest version of each, and the versions before it."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Field, SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db.base import now
from db.ids import new_id
from schemas.errors import NotFoundError


class Template(SQLModel, table=True):
    """A Liquid template of a mail; without `html` the mail has a text part only."""

    __tablename__ = "templates"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (sa.UniqueConstraint("workspace", "name"),)

    id: str = Field(default_factory=new_id, primary_key=True)
    workspace: str
    name: str
    version: int = Field(default=1, sa_column_kwargs={"server_default": "1"})
    subject: str
    text: str
    html: str | None = None
    created_at: datetime = Field(default_factory=now)
    updated_at: datetime = Field(default_factory=now)


class TemplateVersion(SQLModel, table=True):
    """What a template was from one change to the next; never altered."""

    __tablename__ = "template_versions"  # pyright: ignore[reportAssignmentType]

    template_id: str = Field(foreign_key="templates.id", ondelete="CASCADE", primary_key=True)
    version: int = Field(primary_key=True)
    subject: str
    text: str
    html: str | None = None
    created_at: datetime = Field(default_factory=now)


async def get(session: AsyncSession, workspace: str, name: str) -> Template:
    """Return a template; raises NotFoundError."""
    statement = select(Template).where(Template.workspace == workspace, Template.name == name)
    found = (await session.exec(statement)).first()
    if found is None:
        raise _no_template(name)
    return found


async def put(
    session: AsyncSession,
    workspace: str,
    name: str,
    *,
    subject: str,
    text: str,
    html: str | None = None,
) -> Template:
    """Create a template, or add a version to it; the same content again adds none."""
    row = Template(workspace=workspace, name=name, subject=subject, text=text, html=html)
    changed = sa.or_(
        col(Template.subject) != subject,
        col(Template.text) != text,
        col(Template.html).is_distinct_from(html),
    )
    statement = (
        insert(Template)
        .values(row.model_dump())
        .on_conflict_do_update(
            index_elements=["workspace", "name"],
            set_={
                "version": col(Template.version) + sa.case((changed, 1), else_=0),
                "updated_at": sa.case((changed, row.updated_at), else_=Template.updated_at),
                "subject": subject,
                "text": text,
                "html": html,
            },
        )
        .returning(Template)
        .execution_options(populate_existing=True)
    )
    stored = (await session.exec(statement)).scalars().one()
    version = TemplateVersion(
        template_id=stored.id, version=stored.version, subject=subject, text=text, html=html
    )
    await session.exec(
        insert(TemplateVersion)
        .values(version.model_dump())
        .on_conflict_do_nothing(index_elements=["template_id", "version"])
    )
    return stored


async def versions(session: AsyncSession, workspace: str, name: str) -> list[TemplateVersion]:
    """Return all versions of a template, newest first; raises NotFoundError."""
    template = await get(session, workspace, name)
    statement = select(TemplateVersion).where(TemplateVersion.template_id == template.id)
    found = await session.exec(statement.order_by(col(TemplateVersion.version).desc()))
    return list(found.all())


async def get_version(
    session: AsyncSession, workspace: str, name: str, version: int
) -> TemplateVersion:
    """Return one version of a template; raises NotFoundError."""
    template = await get(session, workspace, name)
    found = await session.get(TemplateVersion, (template.id, version))
    if found is None:
        raise NotFoundError(f"the template {name!r} has no version {version}")
    return found


async def restore(session: AsyncSession, workspace: str, name: str, version: int) -> Template:
    """Make what an old version holds the newest one; raises NotFoundError."""
    old = await get_version(session, workspace, name, version)
    return await put(session, workspace, name, subject=old.subject, text=old.text, html=old.html)


async def list_all(session: AsyncSession, workspace: str) -> list[Template]:
    """Return all templates by name."""
    statement = select(Template).where(Template.workspace == workspace).order_by(col(Template.name))
    return list((await session.exec(statement)).all())


async def delete(session: AsyncSession, workspace: str, name: str) -> None:
    """Delete a template with its versions; raises NotFoundError."""
    statement = sa.delete(Template).where(
        col(Template.workspace) == workspace, col(Template.name) == name
    )
    if (await session.exec(statement)).rowcount == 0:
        raise _no_template(name)


def _no_template(name: str) -> NotFoundError:
    return NotFoundError(f"there is no template named {name!r}")
