"""Migrations of runs, and differences of versions, as the API takes and gives them."""

from pydantic import BaseModel, Field

from schemas.diff import DefinitionDiff
from schemas.migration import Fit
from schemas.step_base import StepId


class MigrationOrder(BaseModel):
    """Where to: another published version. Nothing changes without `confirm`."""

    version: int = Field(ge=1, le=2**31 - 1)
    mapping: dict[StepId, StepId] = Field(
        default_factory=dict, max_length=500, description="old step ids to new ones"
    )
    confirm: bool = False


class RunMigration(BaseModel):
    """What a migration means for one run; `reasons` are against it."""

    id: str
    fit: Fit
    reasons: list[str] = Field(default_factory=list)
    migrated: bool = False


class MigrationReport(BaseModel):
    """Open runs of one version, classified, and migrated where that was confirmed.

    `next_cursor` is null after the last run.
    """

    definition: str
    from_version: int
    to_version: int
    confirmed: bool
    safe: int = 0
    mapped: int = 0
    blocked: int = 0
    migrated: int = 0
    runs: list[RunMigration] = Field(default_factory=list)
    next_cursor: str | None = None


class VersionDiff(DefinitionDiff):
    """What changed from one version to another, and for how many open runs that matters.

    `compatible` is true when every input that the old version takes is one of the new version's.
    """

    definition: str
    from_version: int
    to_version: int
    compatible: bool
    open_runs: int
