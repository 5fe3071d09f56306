"""Public forms, each of which starts a definition."""

from datetime import datetime
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Field, SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db.base import JSON_TEXT, now
from db.ids import new_id
from schemas.errors import NotFoundError


class Form(SQLModel, table=True):
    """A form: `fields` is the JSON Schema of a submission, in the order of the form's fields.

    `mapping` says which field is the lead's email, name and company:
    {"email": "work_email", "name": "full_name"}. `public_key` names the form in the whole
    installation: visitors of every workspace but the installation's own need it.
    """

    __tablename__ = "forms"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (
        sa.UniqueConstraint("workspace", "name"),
        sa.Index("uq_forms_public_key", "public_key", unique=True),
    )

    id: str = Field(default_factory=new_id, primary_key=True)
    workspace: str
    name: str
    definition: str
    title: str | None = None
    fields: dict[str, Any] = Field(default_factory=dict, sa_type=JSON_TEXT)
    mapping: dict[str, str] = Field(default_factory=dict, sa_type=JSON_TEXT)
    public_key: str = Field(
        default_factory=lambda: f"form-{uuid4().hex}",
        sa_column_kwargs={
            "server_default": sa.text("('form-' || replace(gen_random_uuid()::text, '-', ''))")
        },
    )
    created_at: datetime = Field(default_factory=now)
    updated_at: datetime = Field(default_factory=now)


async def get(session: AsyncSession, workspace: str, name: str) -> Form:
    """Return a form; raises NotFoundError."""
    statement = select(Form).where(Form.workspace == workspace, Form.name == name)
    found = (await session.exec(statement)).first()
    if found is None:
        raise _no_form(name)
    return found


async def find_public(session: AsyncSession, home: str, address: str) -> Form:
    """Return the form that visitors name: by its public key, or by the name of one of `home`.

    A key comes before a name, or a form could be named like another workspace's key. Raises
    NotFoundError.
    """
    by_name = sa.and_(col(Form.workspace) == home, col(Form.name) == address)
    by_key = col(Form.public_key) == address
    statement = select(Form).where(by_key | by_name).order_by(by_key.desc()).limit(1)
    found = (await session.exec(statement)).first()
    if found is None:
        raise _no_form(address)
    return found


async def put(
    session: AsyncSession,
    workspace: str,
    name: str,
    *,
    definition: str,
    fields: dict[str, Any],
    mapping: dict[str, str],
    title: str | None = None,
) -> Form:
    """Create or replace a form."""
    row = Form(
        workspace=workspace,
        name=name,
        definition=definition,
        title=title,
        fields=fields,
        mapping=mapping,
    )
    changed = {"definition", "title", "fields", "mapping", "updated_at"}
    statement = (
        insert(Form)
        .values(row.model_dump())
        .on_conflict_do_update(
            index_elements=["workspace", "name"], set_=row.model_dump(include=changed)
        )
        .returning(Form)
        .execution_options(populate_existing=True)
    )
    return (await session.exec(statement)).scalars().one()


async def list_all(session: AsyncSession, workspace: str) -> list[Form]:
    """Return all forms by name."""
    statement = select(Form).where(Form.workspace == workspace).order_by(col(Form.name))
    return list((await session.exec(statement)).all())


async def delete(session: AsyncSession, workspace: str, name: str) -> None:
    """Delete a form; raises NotFoundError."""
    statement = sa.delete(Form).where(col(Form.workspace) == workspace, col(Form.name) == name)
    if (await session.exec(statement)).rowcount == 0:
        raise _no_form(name)


def _no_form(name: str) -> NotFoundError:
    return NotFoundError(f"there is no form named {name!r}")
