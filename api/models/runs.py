"""Runs and steps as the API takes and gives them."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, EmailStr, Field

from api.models.common import Closed
from schemas.policies import Priority
from schemas.run import ErrorInfo, RunStatus, StepStatus

Email = Annotated[EmailStr, Field(max_length=254)]
ShortText = Annotated[str, Field(max_length=200)]


class LeadInput(Closed):
    """A lead by its email address, created or updated; `fields` are merged into what is known."""

    email: Email = Field(examples=["ada@example.com"])
    name: ShortText | None = None
    company: ShortText | None = None
    fields: dict[str, Any] = Field(default_factory=dict)


class StartRun(Closed):
    """What starts a run; without `version` the active one is used."""

    input: dict[str, Any] = Field(
        default_factory=dict,
        description="checked against the version's input schema; at most 1 MiB",
        examples=[{"email": "ada@example.com", "budget": 5000}],
    )
    version: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    priority: Priority | None = None
    lead: LeadInput | Annotated[str, Field(min_length=1, max_length=64)] | None = Field(
        default=None, description="a lead's id, or a lead to create or update"
    )


class RunRef(BaseModel):
    """A run and where it stands."""

    id: str
    status: RunStatus


class StartAnswer(RunRef):
    """A run that was started, or is queued to be."""

    position: int | None = Field(
        default=None, description="place in the queue of its definition, from 1"
    )


class Blocked(BaseModel):
    """Since when Temporal cannot get a run on, and what its worker says of that."""

    since: datetime
    reason: str


class RunSummary(RunRef):
    """One run as its row has it; `until` is when its next timer ends."""

    definition: str
    version: int
    priority: int
    lead_id: str | None = None
    parent_run_id: str | None = Field(default=None, description="the run that started this one")
    parent_path: str | None = Field(
        default=None, description="the step that started it; each[200] is a batch of a loop"
    )
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    waiting_for: str | None = None
    until: datetime | None = None
    error: ErrorInfo | None = None
    blocked: Blocked | None = Field(
        default=None, description="its workflow task fails again and again; see docs/operations.md"
    )


class RunPage(BaseModel):
    """Runs, newest first; the rows may lag Temporal by seconds after `as_of`."""

    items: list[RunSummary]
    next_cursor: str | None = None
    as_of: datetime


class RunDetail(RunSummary):
    """One run; `stale` is true when Temporal or the worker did not answer and the row is shown."""

    input: dict[str, Any]
    output: Any = None
    workflow_id: str = Field(description="the id in Temporal")
    temporal_run_id: str | None = Field(default=None, description="of the first execution")
    correlation_id: str | None = None
    stale: bool = False
    no_worker: bool = Field(default=False, description="no worker polls: the run waits for one")


class StepView(BaseModel):
    """One step of a run; `duration_ms` is wall time from its start to its end."""

    path: str
    id: str
    type: str
    title: str | None = None
    status: StepStatus
    attempts: int
    input: Any = None
    output: Any = None
    error: ErrorInfo | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    duration_ms: int | None = None
    until: datetime | None = None
    note: str | None = None


Reason = Annotated[
    str, Field(min_length=1, max_length=500, pattern=r"\S", examples=["the order was refunded"])
]


class TerminateRun(Closed):
    """Why a run is ended where it stands; kept in the audit and as the run's error."""

    reason: Reason


class UnblockRun(Closed):
    """From where a blocked run goes on."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    from_: Literal["failed_task", "last_completed"] = Field(
        default="failed_task",
        alias="from",
        description="`failed_task` tries again what fails, and nothing is done twice; "
        "`last_completed` goes back to before the last task that was good, whose activities run "
        "again under their step keys",
    )


class ArtifactView(BaseModel):
    """What a step gave that was too large for its output; `sha256` is of its bytes, in hex."""

    id: str
    step_path: str
    content_type: str
    size: int
    sha256: str
    created_at: datetime


class SignalData(Closed):
    """What a signal carries: the output of the `wait` step that takes it."""

    data: Any = None
