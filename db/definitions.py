"""Definitions and their numbered versions."""

import hashlib
import json
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Field, SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db.base import JSON_TEXT, enum_type, now
from db.ids import new_id
from db.pages import DEFAULT_PAGE, Page, cut, decode_cursor, page_size
from db.run_table import OPEN, Run
from schemas.errors import ConflictError, ErrorCode, NotFoundError


class VersionStatus(StrEnum):
    """Status of a version; it only moves forward."""

    DRAFT = "draft"
    PUBLISHED = "published"
    DEPRECATED = "deprecated"


class Definition(SQLModel, table=True):
    """A definition's name and which of its versions runs start with."""

    __tablename__ = "definitions"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (
        sa.UniqueConstraint("workspace", "name"),
        sa.Index(None, "workspace", "created_at", "id"),
    )

    id: str = Field(default_factory=new_id, primary_key=True)
    workspace: str
    name: str
    title: str | None = None
    active_version: int | None = None
    latest_version: int = 1
    created_at: datetime = Field(default_factory=now)
    updated_at: datetime = Field(default_factory=now)


class Version(SQLModel, table=True):
    """One version: `document` is the definition as data, `source` its text as it was sent.

    A trigger refuses every change of a version that is no longer a draft, but its deprecation.
    """

    __tablename__ = "definition_versions"  # pyright: ignore[reportAssignmentType]

    definition_id: str = Field(primary_key=True, foreign_key="definitions.id", ondelete="CASCADE")
    version: int = Field(primary_key=True)
    workspace: str
    status: VersionStatus = Field(default=VersionStatus.DRAFT, sa_type=enum_type(VersionStatus))
    document: dict[str, Any] = Field(sa_type=JSON_TEXT)
    source: str
    content_hash: str
    created_at: datetime = Field(default_factory=now)
    published_at: datetime | None = None
    deprecated_at: datetime | None = None


class VersionSummary(BaseModel):
    """A version as lists show it: without its document and source."""

    version: int
    status: VersionStatus
    content_hash: str
    created_at: datetime
    published_at: datetime | None
    deprecated_at: datetime | None


_SUMMARY = [getattr(Version, name) for name in VersionSummary.model_fields]


def content_hash(document: dict[str, Any]) -> str:
    """Return the SHA-256, in hex, of the document with sorted keys: equal meaning, equal hash."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


async def create(
    session: AsyncSession,
    workspace: str,
    name: str,
    document: dict[str, Any],
    source: str,
    *,
    title: str | None = None,
    publish: bool = False,
) -> Version:
    """Store a new definition with version 1; raises ConflictError if the name is taken."""
    moment = now()
    definition = Definition(
        workspace=workspace,
        name=name,
        title=title,
        active_version=1 if publish else None,
        created_at=moment,
        updated_at=moment,
    )
    statement = (
        insert(Definition)
        .values(definition.model_dump())
        .on_conflict_do_nothing()
        .returning(col(Definition.id))
    )
    if (await session.exec(statement)).first() is None:
        raise ConflictError(
            f"a definition named {name!r} exists",
            hint=f"add a version with POST /api/v1/definitions/{name}/versions",
        )
    return await _add(session, definition, 1, document, source, publish)


async def add_version(
    session: AsyncSession,
    workspace: str,
    name: str,
    document: dict[str, Any],
    source: str,
    *,
    title: str | None = None,
    publish: bool = False,
) -> Version:
    """Store the next version; with `publish` it becomes the active one."""
    definition = await _locked(session, workspace, name)
    definition.latest_version += 1
    definition.title = title
    definition.updated_at = now()
    if publish:
        definition.active_version = definition.latest_version
    session.add(definition)
    return await _add(session, definition, definition.latest_version, document, source, publish)


async def publish(session: AsyncSession, workspace: str, name: str, version: int) -> Version:
    """Publish a version and make it the active one.

    A version already published becomes active again (the way back from a bad one); a deprecated
    one raises ConflictError (VERSION_CONFLICT).
    """
    definition = await _locked(session, workspace, name)
    row = await _version(session, definition, version)
    if row.status is VersionStatus.DEPRECATED:
        raise ConflictError(
            f"version {version} of {name!r} is deprecated",
            code=ErrorCode.VERSION_CONFLICT,
            hint="add it again as a new version",
        )
    moment = now()
    if row.status is VersionStatus.DRAFT:
        row.status = VersionStatus.PUBLISHED
        row.published_at = moment
        session.add(row)
    definition.active_version = version
    definition.updated_at = moment
    session.add(definition)
    await session.flush()
    return row


async def deprecate(session: AsyncSession, workspace: str, name: str, version: int) -> Version:
    """Deprecate a published version; if it was active, the newest published one follows it.

    Runs that have started with it go on. Raises ConflictError (VERSION_CONFLICT) for a draft.
    """
    definition = await _locked(session, workspace, name)
    row = await _version(session, definition, version)
    if row.status is VersionStatus.DEPRECATED:
        return row
    if row.status is VersionStatus.DRAFT:
        raise ConflictError(
            f"version {version} of {name!r} is a draft", code=ErrorCode.VERSION_CONFLICT
        )
    row.status = VersionStatus.DEPRECATED
    row.deprecated_at = now()
    session.add(row)
    await session.flush()
    if definition.active_version == version:
        newest = select(sa.func.max(Version.version)).where(
            Version.definition_id == definition.id,
            Version.status == VersionStatus.PUBLISHED,
        )
        definition.active_version = (await session.exec(newest)).one()
    definition.updated_at = now()
    session.add(definition)
    await session.flush()
    return row


async def get(session: AsyncSession, workspace: str, name: str) -> Definition:
    """Return a definition; raises NotFoundError (DEFINITION_NOT_FOUND)."""
    statement = select(Definition).where(Definition.workspace == workspace, Definition.name == name)
    found = (await session.exec(statement)).first()
    if found is None:
        raise _no_definition(name)
    return found


async def get_version(
    session: AsyncSession, workspace: str, name: str, version: int | None = None
) -> Version:
    """Return a version, the active one by default; raises NotFoundError (DEFINITION_NOT_FOUND)."""
    found = (await session.exec(select_version(workspace, name, version))).first()
    return found_version(name, version, found)


def select_version(workspace: str, name: str, version: int | None) -> Any:
    """Give the statement for a definition's id and a version of it, the active one by default."""
    wanted = col(Definition.active_version) if version is None else sa.literal(version)
    return (
        select(Definition.id, Version)
        .outerjoin(
            Version,
            sa.and_(
                col(Version.definition_id) == Definition.id,
                col(Version.version) == wanted,
            ),
        )
        .where(Definition.workspace == workspace, Definition.name == name)
    )


def found_version(name: str, version: int | None, found: Any) -> Version:
    """Give the version of a row that `select_version` found; raises NotFoundError."""
    if found is None:
        raise _no_definition(name)
    row: Version | None = found[1]
    if row is None:
        raise _no_version(name, version)
    return row


async def versions(session: AsyncSession, workspace: str, name: str) -> list[Version]:
    """Return all versions of a definition, newest first; raises NotFoundError."""
    statement = (
        select(Definition.id, Version)
        .join(Version, col(Version.definition_id) == Definition.id)
        .where(Definition.workspace == workspace, Definition.name == name)
        .order_by(col(Version.version).desc())
    )
    rows = (await session.exec(statement)).all()
    if not rows:
        raise _no_definition(name)
    return [row[1] for row in rows]


async def version_summaries(
    session: AsyncSession, workspace: str, name: str
) -> list[VersionSummary]:
    """Return all versions without document and source, newest first; raises NotFoundError."""
    statement = (
        sa.select(*_SUMMARY)
        .join(Definition, col(Version.definition_id) == Definition.id)
        .where(col(Definition.workspace) == workspace, col(Definition.name) == name)
        .order_by(col(Version.version).desc())
    )
    rows = (await (await session.connection()).execute(statement)).mappings().all()
    if not rows:
        raise _no_definition(name)
    return [VersionSummary.model_validate(dict(row)) for row in rows]


async def list_page(
    session: AsyncSession,
    workspace: str,
    *,
    cursor: str | None = None,
    limit: int = DEFAULT_PAGE,
) -> Page[Definition]:
    """Return a page of definitions, newest first; InputError for a bad cursor or limit."""
    statement = select(Definition).where(Definition.workspace == workspace)
    if cursor is not None:
        place = sa.tuple_(col(Definition.created_at), col(Definition.id))
        statement = statement.where(place < sa.tuple_(*decode_cursor(cursor)))
    statement = statement.order_by(
        col(Definition.created_at).desc(), col(Definition.id).desc()
    ).limit(page_size(limit) + 1)
    return cut((await session.exec(statement)).all(), limit)


async def delete(session: AsyncSession, workspace: str, name: str) -> None:
    """Delete a definition with its versions; raises ConflictError while it has open runs.

    Its finished runs stay.
    """
    definition = await _locked(session, workspace, name)
    runs = select(sa.func.count()).where(
        Run.workspace == workspace, Run.definition == name, col(Run.status).in_(OPEN)
    )
    count = (await session.exec(runs)).one()
    if count:
        raise ConflictError(f"{name!r} has {count} open runs", hint="cancel them first")
    await session.delete(definition)
    await session.flush()


async def _locked(session: AsyncSession, workspace: str, name: str) -> Definition:
    statement = (
        select(Definition)
        .where(Definition.workspace == workspace, Definition.name == name)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    found = (await session.exec(statement)).first()
    if found is None:
        raise _no_definition(name)
    return found


async def _version(session: AsyncSession, definition: Definition, version: int) -> Version:
    row = await session.get(Version, (definition.id, version), populate_existing=True)
    if row is None:
        raise _no_version(definition.name, version)
    return row


async def _add(
    session: AsyncSession,
    definition: Definition,
    number: int,
    document: dict[str, Any],
    source: str,
    publish: bool,
) -> Version:
    moment = now()
    row = Version(
        definition_id=definition.id,
        version=number,
        workspace=definition.workspace,
        status=VersionStatus.PUBLISHED if publish else VersionStatus.DRAFT,
        document=document,
        source=source,
        content_hash=content_hash(document),
        created_at=moment,
        published_at=moment if publish else None,
    )
    session.add(row)
    await session.flush()
    return row


def _no_definition(name: str) -> NotFoundError:
    return NotFoundError(
        f"there is no definition named {name!r}", code=ErrorCode.DEFINITION_NOT_FOUND
    )


def _no_version(name: str, version: int | None) -> NotFoundError:
    if version is None:
        return NotFoundError(
            f"{name!r} has no published version",
            code=ErrorCode.DEFINITION_NOT_FOUND,
            hint="publish one of its versions",
        )
    return NotFoundError(f"{name!r} has no version {version}", code=ErrorCode.DEFINITION_NOT_FOUND)
