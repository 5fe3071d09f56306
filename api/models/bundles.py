"""What an import would do, or has done, as the API gives it."""

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, Field

from schemas.errors import Problem
from schemas.needs import NeedKind


class ImportMode(StrEnum):
    """What an import does with what is there already and is different."""

    CREATE = "create"  # refuses it
    UPDATE = "update"  # adds a version, or replaces it
    SKIP = "skip"  # leaves it as it is


class ImportedItem(BaseModel):
    """One thing of the bundle; `token` and `url` of a new webhook are shown this once."""

    kind: Literal["definition", "template", "form", "trigger"]
    name: str = Field(description="for a trigger its definition and kind", examples=["welcome"])
    action: Literal["create", "update", "unchanged", "skip", "refuse"]
    problems: list[Problem] = Field(
        default_factory=list, description="errors refuse the whole import, warnings only tell"
    )
    version: int | None = Field(default=None, description="of a definition or template")
    id: str | None = Field(default=None, description="of a new trigger")
    enabled: bool | None = Field(default=None, description="of a new trigger")
    token: str | None = None
    url: str | None = None


class MissingThing(BaseModel):
    """Something that what is imported needs, and that is neither stored nor in the bundle."""

    kind: NeedKind
    name: str
    needed_by: list[str] = Field(description="definitions, and triggers as `name/kind`")


class ImportAnswer(BaseModel):
    """What was done with each thing of a bundle; after a dry run, what would be."""

    dry_run: bool
    items: list[ImportedItem]
    missing: list[MissingThing]
