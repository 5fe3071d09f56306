"""Bulk jobs as the API takes and gives them."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, Field

from api.models.common import Closed
from api.models.runs import Reason
from db.bulk_tables import ItemState, JobState
from db.dead_letter_table import LetterKind
from schemas.bulk import MAX_BULK_ITEMS, MAX_BULK_RATE, BulkAction
from schemas.definition import DefinitionName
from schemas.migration import Fit
from schemas.run import RunStatus
from schemas.step_base import StepId

Rate = Annotated[int, Field(ge=1, le=MAX_BULK_RATE, description="items a second")]
Ids = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=64)]],
    Field(min_length=1, max_length=MAX_BULK_ITEMS),
]
VersionNumber = Annotated[int, Field(ge=1, le=2**31 - 1)]
Origin = Literal["failed_step", "start"]


class LetterFilter(Closed):
    """Which open dead letters; without a field all of them."""

    kind: LetterKind | None = None
    definition: DefinitionName | None = None
    code: Annotated[str, Field(max_length=64)] | None = None
    fingerprint: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    created_from: AwareDatetime | None = Field(default=None, alias="from", description="included")
    created_to: AwareDatetime | None = Field(default=None, alias="to", description="not included")


class RunFilter(Closed):
    """Which open runs; runs that other runs started go with those."""

    definition: DefinitionName | None = None
    version: VersionNumber | None = None
    status: list[RunStatus] = Field(default_factory=list, max_length=5)
    lead: Annotated[str, Field(max_length=64)] | None = None
    created_from: AwareDatetime | None = Field(default=None, alias="from", description="included")
    created_to: AwareDatetime | None = Field(default=None, alias="to", description="not included")


class BulkOrder(Closed):
    """One action on many runs, by `filter` or `ids`; with `redrive`, on dead letters by `letters`.

    `version` is where `migrate` goes, and in which version `redrive` tries again.
    """

    action: BulkAction
    filter: RunFilter | None = None
    letters: LetterFilter | None = None
    ids: Ids | None = None
    version: VersionNumber | None = None
    mapping: dict[StepId, StepId] = Field(
        default_factory=dict, max_length=500, description="migrate: old step ids to new ones"
    )
    origin: Origin = Field(default="failed_step", alias="from", description="redrive: from where")
    reason: Reason | None = Field(default=None, description="terminate: why")
    rate: Rate = 10
    preview: bool = Field(default=False, description="say what would happen, and do nothing")


class BulkOutlook(BaseModel):
    """What an action would mean for one item; `reasons` are against it.

    Of a dead letter `points` are the steps that would run again first, `kept` those whose results
    would stay.
    """

    id: str
    fit: Fit
    reasons: list[str] = Field(default_factory=list)
    points: list[str] = Field(default_factory=list)
    kept: list[str] = Field(default_factory=list)


class BulkPreview(BaseModel):
    """What an action would mean: for `count` items in all, the first 100 of them one by one."""

    action: BulkAction
    count: int
    safe: int = Field(description="of the items that are listed")
    blocked: int = Field(description="of the items that are listed")
    items: list[BulkOutlook]


class BulkJobView(BaseModel):
    """A bulk job and how far it is: `done` and `failed` of `total` items."""

    id: str
    action: BulkAction
    state: JobState
    total: int
    done: int
    failed: int
    rate: int
    parameters: dict[str, Any]
    actor: str
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None


class BulkJobPage(BaseModel):
    """Bulk jobs, newest first."""

    items: list[BulkJobView]
    next_cursor: str | None = None


class BulkItemView(BaseModel):
    """What became of one item; `run_id` is the run that a dead letter was re-driven to."""

    position: int = Field(description="from 1")
    id: str = Field(description="of the run or the dead letter")
    state: ItemState
    run_id: str | None = None
    code: str | None = None
    message: str | None = None
    finished_at: datetime | None = None


class BulkItemPage(BaseModel):
    """The items of a bulk job in the order in which they have their turn."""

    items: list[BulkItemView]
    next_cursor: str | None = None
