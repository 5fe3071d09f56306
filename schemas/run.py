"""Runs: their statuses, what starts one, and the state that a run carries and shows."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, Field, field_serializer

from schemas.definition import Definition
from schemas.durations import Duration

MAX_INPUT_BYTES = 1024 * 1024
MAX_OUTPUT_BYTES = 256 * 1024
# The state travels through continue-as-new in one payload; Temporal refuses 2 MiB.
MAX_STATE_BYTES = 1536 * 1024
MAX_MAILBOX = 1000
INTERPRETER_TASK_QUEUE = "sojourn"


class RunStatus(StrEnum):
    """Status of a run; the last five are final."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    PAUSED = "paused"
    COMPENSATING = "compensating"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TERMINATED = "terminated"
    TIMED_OUT = "timed_out"

    @property
    def terminal(self) -> bool:
        """True for a status that never changes again."""
        return self in TERMINAL


TERMINAL = frozenset(
    {
        RunStatus.COMPLETED,
        RunStatus.FAILED,
        RunStatus.CANCELLED,
        RunStatus.TERMINATED,
        RunStatus.TIMED_OUT,
    }
)


class StepStatus(StrEnum):
    """Status of a step."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    COMPENSATED = "compensated"

    @property
    def done(self) -> bool:
        """True when the step will not change by itself again."""
        return self not in (StepStatus.PENDING, StepStatus.RUNNING, StepStatus.WAITING)


class ErrorInfo(BaseModel):
    """An error as runs and steps keep it; `step` is the path of the step it comes from."""

    code: str
    message: str
    step: str | None = None
    details: dict[str, Any] | None = None


class Lead(BaseModel):
    """The lead as expressions see it: a snapshot from the start of the run."""

    id: str
    email: str
    name: str | None = None
    company: str | None = None
    status: str = "new"
    fields: dict[str, Any] = Field(default_factory=dict)


class StepState(BaseModel):
    """One step of a run: `path` is its id, with the iteration's prefix inside a loop.

    `input` holds the rendered parameters until they are projected; `until` is when a timer ends.
    """

    path: str
    id: str
    type: str
    title: str | None = None
    status: StepStatus = StepStatus.PENDING
    attempts: int = 0
    input: Any = None
    output: Any = None
    error: ErrorInfo | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    until: datetime | None = None
    note: str | None = Field(default=None, description="what a waiting step waits for, in words")
    choice: str | None = Field(default=None, description="the way a condition or switch took")


class RunState(BaseModel):
    """A run's whole state: the answer to the query `state`, carried through continue-as-new.

    `steps` maps path to state, in the order in which the steps began. `seq` grows with each
    projection, so that an old one never overwrites a newer one.
    """

    status: RunStatus = RunStatus.RUNNING
    paused: bool = False
    seq: int = 0
    started_at: datetime
    steps: dict[str, StepState] = Field(default_factory=dict)
    vars: dict[str, Any] = Field(default_factory=dict)
    mailbox: dict[str, list[Any]] = Field(default_factory=dict)
    output: Any = None
    error: ErrorInfo | None = None
    generation: int = Field(default=0, description="how often the run has continued as new")


class RunStart(BaseModel):
    """The first argument of the workflow: the published definition by value, and the input.

    `timescale` divides every timer (a development aid: 86400 turns a day into a second).
    """

    run_id: str
    workspace: str
    definition: Definition
    version: int
    input: dict[str, Any] = Field(default_factory=dict)
    lead: Lead | None = None
    correlation_id: str | None = None
    timescale: float = Field(default=1.0, gt=0)
    history_limit: int | None = Field(
        default=None, ge=20, description="continue as new from so many history events on"
    )
    timeouts: dict[str, Duration] = Field(
        default_factory=dict, description="own default timeouts of the actions, by type"
    )

    @field_serializer("definition")
    def _compact(self, definition: Definition) -> dict[str, Any]:
        """Only what was written: the definition stays in history as short as its author's text."""
        return definition.model_dump(mode="json", by_alias=True, exclude_unset=True)

    @property
    def workflow_id(self) -> str:
        """The Temporal workflow id, `{workspace}/{definition}/{run_id}`."""
        return f"{self.workspace}/{self.definition.name}/{self.run_id}"


class StepRecord(BaseModel):
    """A step as the projection stores it."""

    path: str
    id: str
    type: str
    title: str | None = None
    status: StepStatus
    attempts: int = 0
    input: Any = None
    output: Any = None
    error: ErrorInfo | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    until: datetime | None = None
    note: str | None = None


class Projection(BaseModel):
    """One batch from a run to its row: argument of the `record` activity.

    Applied only where `seq` is above the row's and the row's status is not final.
    """

    workspace: str
    run_id: str
    seq: int
    status: RunStatus
    steps: list[StepRecord] = Field(default_factory=list)
    output: Any = None
    error: ErrorInfo | None = None
    waiting_for: str | None = None
    until: datetime | None = Field(default=None, description="when the next timer of the run ends")
