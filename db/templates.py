"""Stored email templates."""

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
    subject: str
    text: str
    html: str | None = None
    created_at: datetime = Field(default_factory=now)
    updated_at: datetime = Field(default_factory=now)


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
    """Create or replace a template."""
    row = Template(workspace=workspace, name=name, subject=subject, text=text, html=html)
    statement = (
        insert(Template)
        .values(row.model_dump())
        .on_conflict_do_update(
            index_elements=["workspace", "name"],
            set_={
                "subject": subject,
                "text": text,
                "html": html,
                "updated_at": row.updated_at,
            },
        )
        .returning(Template)
        .execution_options(populate_existing=True)
    )
    return (await session.exec(statement)).scalars().one()


async def list_all(session: AsyncSession, workspace: str) -> list[Template]:
    """Return all templates by name."""
    statement = select(Template).where(Template.workspace == workspace).order_by(col(Template.name))
    return list((await session.exec(statement)).all())


async def delete(session: AsyncSession, workspace: str, name: str) -> None:
    """Delete a template; raises NotFoundError."""
    statement = sa.delete(Template).where(
        col(Template.workspace) == workspace, col(Template.name) == name
    )
    if (await session.exec(statement)).rowcount == 0:
        raise _no_template(name)


def _no_template(name: str) -> NotFoundError:
    return NotFoundError(f"there is no template named {name!r}")
