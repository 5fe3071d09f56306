"""Definitions and versions as the API gives them."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from db.definitions import VersionStatus
from schemas.errors import Problem


class VersionSummary(BaseModel):
    """One version; immutable once published, at most one published version is active."""

    name: str
    version: int
    status: VersionStatus
    active: bool = Field(description="runs start with it unless they name another")
    created_at: datetime
    published_at: datetime | None = None


class Published(VersionSummary):
    """A version that was stored or published, with what its author should know of it."""

    warnings: list[Problem] = Field(
        default_factory=list, description="what is doubtful in it, but refuses nothing"
    )


class VersionDetail(VersionSummary):
    """A version with its content: `source` as it was written, `definition` as it was read."""

    source: str
    definition: dict[str, Any]


class VersionList(BaseModel):
    """The versions of a definition, newest first."""

    items: list[VersionSummary]


class DefinitionSummary(BaseModel):
    """One definition; `version` is the active one, null while nothing is published."""

    name: str
    title: str | None = None
    version: int | None = None
    latest_version: int
    created_at: datetime
    updated_at: datetime


class DefinitionDetail(DefinitionSummary):
    """A definition with the content of its active version, or of its latest draft."""

    definition: dict[str, Any]


class DefinitionPage(BaseModel):
    """Definitions by name; `next_cursor` is null on the last page."""

    items: list[DefinitionSummary]
    next_cursor: str | None = None


class Verdict(BaseModel):
    """All that was found; a definition without a problem of severity `error` may be published."""

    problems: list[Problem]
