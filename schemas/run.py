"""Runs: their statuses, what starts one, and the state that a run carries and shows."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, Field, field_serializer

from schemas.definition import Definition
from schemas.durations import Duration

MAX_INPUT_BYTES = 1024 * 1024
MAX_OUTPUT_BYTES = 256 * 1024
# A step's rendered parameters, and a run's output.
MAX_PARAMS_BYTES = 1024 * 1024
MAX_RUN_OUTPUT_BYTES = 1024 * 1024
# What Temporal takes in one payload, less a margin for what encryption adds.
MAX_CARRIED_BYTES = 2 * 1024 * 1024 - 64 * 1024
# The state travels through continue-as-new in one payload; Temporal refuses 2 MiB.
MAX_STATE_BYTES = 1536 * 1024
# All the results of a loop together.
MAX_RESULTS_BYTES = 1024 * 1024
# How deep runs may start runs, against recursion without an end; and how many of one run's
# sub-runs may be open (Temporal allows 2,000).
MAX_RUN_DEPTH = 8
MAX_OPEN_SUB_RUNS = 500
MAX_MAILBOX = 1000
# What one execution may be sent from outside, until it continues as new; a run does that once it
# has had half of it.
MAX_EVENTS = 1000
MAX_EVENT_BYTES = 8 * 1024 * 1024
# Signals that no step has taken, which travel through continue-as-new with the state.
MAX_MAILBOX_BYTES = 512 * 1024
INTERPRETER_TASK_QUEUE = "sojourn"
# What a run's start says of the interpreter's choices: a run that began with an older one keeps
# it. 2: http calls with a safe method and a short timeout run inline. 3: for_each takes more than
# 200 items, in child runs. 4: local activities run one at a time. 5: an inline step's retries are
# timers of the run; a branch that ends tells when only waits are left. 6: an operator's abort ends
# the run, whatever stands around the step; what ran again is undone as it was when it had effect;
# a step that its fallback completed is undone before what the fallback did; the losers of a race
# end with it, also right after a continue-as-new. 7: an operator's decision is answered once the
# step has taken it, also when the step is held again at that very moment; what stands beside or
# inside a step that fails or is cancelled ends with it, also as the run continues as new. 8: a
# straight stretch of inline steps is one local activity. 9: a step whose turn has not come (the
# rate of a connection) waits for it as a timer of the run, which costs no attempt; a run continues
# as new once it was sent half of its quota; its parameters and its output have limits.
INLINE_HTTP_REVISION = 2
BATCHES_REVISION = 3
SERIAL_REVISION = 4
TIMED_RETRIES_REVISION = 5
RECOVERY_REVISION = 6
DECISION_REVISION = 7
ENDINGS_REVISION = 7
STRETCH_REVISION = 8
CANCEL_REVISION = 8
TURNS_REVISION = 9
QUOTAS_REVISION = 9
REVISION = 9


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


class Event(BaseModel):
    """An event as runs see it: `type` and `key` say what it is about.

    `id` is unique among those of its `source`. `seq` is its place in the order of receipt, none
    for one that somebody signalled by hand.
    """

    id: str
    source: str | None = None
    type: str
    key: str
    data: Any = None
    time: datetime | None = None
    seq: int | None = None


class Decision(BaseModel):
    """What an operator decided about a step that failed and is held: `by` says who."""

    action: Literal["retry", "skip", "abort"]
    input: dict[str, Any] | None = Field(default=None, description="retry: another `with`")
    output: Any = Field(default=None, description="skip: the step's output")
    by: str | None = None


class Answer(BaseModel):
    """One person's answer to an approval."""

    decision: Literal["approved", "rejected"]
    data: dict[str, Any] = Field(default_factory=dict)
    by: str
    at: datetime | None = None


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
    data: Any = Field(default=None, description="what the step itself must remember")
    held: bool = Field(default=False, description="failed, and an operator must decide")
    decision: Decision | None = None
    override: dict[str, Any] | None = Field(default=None, description="an operator's `with`")
    answers: list[Answer] = Field(default_factory=list)
    round: int = Field(default=0, description="how often the run was rewound to before this step")


class Undo(BaseModel):
    """A step's registered compensation: `names` are the loop variables it was begun with.

    `order` is 0 until the step has, or may have, taken effect; then it counts completions. `kept`
    is what the step was then, once it is to run again.
    """

    path: str
    step: str
    prefix: str = ""
    names: dict[str, Any] = Field(default_factory=dict)
    order: int = 0
    kept: StepState | None = None
    again: dict[str, Any] | None = Field(
        default=None, description="the names of a later try, until that takes effect"
    )


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
    inbox: list[Event] = Field(default_factory=list, description="events that no step has taken")
    taken: list[str] = Field(default_factory=list, description="events that a step took")
    heard: dict[str, int] = Field(
        default_factory=dict, description="type and key to the place up to which all were received"
    )
    undo: list[Undo] = Field(default_factory=list)
    broken: ErrorInfo | None = Field(
        default=None, description="the failure of a parallel sub-run: the run ends with it"
    )
    goal: Event | None = Field(default=None, description="the event that was the run's goal")
    variants: dict[str, str] = Field(default_factory=dict, description="split step to variant")
    rounds: int = Field(default=0, description="how often an operator rewound the run")
    output: Any = None
    error: ErrorInfo | None = None
    moved_from: int | None = Field(
        default=None, description="the version before a migration, until the row knows"
    )
    generation: int = Field(default=0, description="how often the run has continued as new")


class Batch(BaseModel):
    """What a child run of a large for_each needs of its parent: its items and their scope.

    The child's one step is the for_each; its items count from `offset`, under `prefix`.
    """

    run_id: str
    started_at: datetime
    offset: int
    items: list[Any]
    tolerated: int | None = None
    prefix: str = ""
    names: dict[str, Any] = Field(default_factory=dict)
    steps: dict[str, Any] = Field(default_factory=dict, description="views of steps by id")
    vars: dict[str, Any] = Field(default_factory=dict)


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
    revision: int = Field(
        default=1, description="of the interpreter's choices that older histories must not see"
    )
    parent: str | None = Field(default=None, description="the id of the run that started this one")
    depth: int = Field(default=0, description="how many runs are above this one")
    batch: Batch | None = None

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
    choice: str | None = Field(default=None, description="a split's variant, a condition's way")


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
    version: int | None = Field(default=None, description="after a migration the new version")


class FinalOutcome(BaseModel):
    """How a run has ended, as its row has it."""

    status: RunStatus
    output: Any = None
    error: ErrorInfo | None = None
