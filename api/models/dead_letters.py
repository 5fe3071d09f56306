"""Dead letters as the API takes and gives them."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field

from api.models.bulk import Ids, LetterFilter, Origin, Rate, VersionNumber
from api.models.common import Closed
from db.dead_letter_table import LetterKind, LetterState
from schemas.migration import Fit
from schemas.run import RunStatus


class DeadLetterView(BaseModel):
    """One thing that failed for good.

    `subject_id` is the id of the run, of the mail or of the webhook's delivery. `redrives` counts
    how often it was tried again, also by the dead letters before it.
    """

    id: str
    kind: LetterKind
    definition: str
    version: int | None = None
    subject_id: str
    run_id: str | None = None
    step_path: str | None = None
    code: str
    message: str
    fingerprint: str = Field(description="the same for failures of one cause")
    state: LetterState
    redrives: int
    new_run_id: str | None = None
    reason: str | None = Field(default=None, description="why it was discarded")
    actor: str | None = None
    created_at: datetime
    settled_at: datetime | None = None


class DeadLetterPage(BaseModel):
    """Dead letters, the last first."""

    items: list[DeadLetterView]
    next_cursor: str | None = None


class DeadLetterGroup(BaseModel):
    """The dead letters of one fingerprint; `sample` is the latest."""

    fingerprint: str
    count: int
    first: datetime
    last: datetime
    redrives: int
    sample: DeadLetterView


class DeadLetterGroups(BaseModel):
    """Groups of dead letters, the largest first."""

    items: list[DeadLetterGroup]


class Redrive(Closed):
    """How to try again: by default in the same version, with the same input."""

    version: VersionNumber | None = None
    input: dict[str, Any] | None = Field(default=None, description="instead of the run's own")
    origin: Origin = Field(
        default="failed_step",
        alias="from",
        description="failed_step keeps the results of finished steps",
    )
    preview: bool = Field(default=False, description="say what would happen, and do nothing")


class RedriveAnswer(BaseModel):
    """What re-driving has done, or with `preview` would do; `reasons` are against it."""

    id: str
    state: LetterState
    run_id: str | None = None
    redrives: int
    fit: Fit | None = None
    reasons: list[str] = Field(default_factory=list)
    points: list[str] = Field(default_factory=list, description="steps that run again first")
    kept: list[str] = Field(default_factory=list, description="steps whose results stay")


class RedriveMany(Closed):
    """Which dead letters to try again: by `ids`, or the open ones by `filter`."""

    filter: LetterFilter | None = None
    ids: Ids | None = None
    version: VersionNumber | None = None
    origin: Origin = Field(default="failed_step", alias="from")
    rate: Rate = 10
    preview: bool = Field(default=False, description="say what would happen, and do nothing")


class Discard(Closed):
    """Why a dead letter is given up."""

    reason: Annotated[str, Field(min_length=1, max_length=1000)]


class MarkSent(Closed):
    """What is known of an effect that happened after all; adds to the step's output."""

    output: dict[str, Any] = Field(default_factory=dict)


class SendDecided(BaseModel):
    """A parked send that was decided about; `status` is the run's when its step went on."""

    id: str
    state: LetterState
    run_id: str | None = None
    status: RunStatus | None = Field(
        default=None, description="null when no step was held for it any more"
    )
