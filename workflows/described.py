"""What Temporal knows of a run and of itself, in Sojourn's words."""

from dataclasses import dataclass
from datetime import datetime

from temporalio.client import WorkflowExecutionStatus

from schemas.run import RunStatus

CLOSED = {
    WorkflowExecutionStatus.COMPLETED: RunStatus.COMPLETED,
    WorkflowExecutionStatus.FAILED: RunStatus.FAILED,
    WorkflowExecutionStatus.CANCELED: RunStatus.CANCELLED,
    WorkflowExecutionStatus.TERMINATED: RunStatus.TERMINATED,
    WorkflowExecutionStatus.TIMED_OUT: RunStatus.TIMED_OUT,
}


@dataclass(frozen=True)
class Execution:
    """A run as Temporal knows it; an open one is `running`, whatever it waits for.

    `run_id` is of the latest execution, `first_run_id` of the first: they differ once the run has
    continued as new. `history_length` counts the latest execution's events, `history_bytes` their
    size; `task_attempts` those of the workflow task that is under way.
    """

    status: RunStatus
    run_id: str
    first_run_id: str
    closed_at: datetime | None
    history_length: int
    history_bytes: int = 0
    task_attempts: int = 0


@dataclass(frozen=True)
class Closed:
    """A run that visibility shows as closed; a reset may have opened it again since."""

    workflow_id: str
    status: RunStatus
    closed_at: datetime


@dataclass(frozen=True)
class Health:
    """Whether Temporal answers, and whether a worker polls the task queue."""

    temporal: bool
    workers: bool
    message: str | None = None
