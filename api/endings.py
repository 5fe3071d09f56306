"""How a run ended, as Temporal tells it, for a row that does not know."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from db.base import now
from schemas.errors import ErrorCode
from schemas.run import ErrorInfo, RunStatus
from workflows.gateway import Execution, Gateway

_FROM_OUTSIDE = {
    RunStatus.TERMINATED: ErrorInfo(
        code=ErrorCode.CANCELLED, message="the run was terminated in Temporal"
    ),
    RunStatus.TIMED_OUT: ErrorInfo(code=ErrorCode.TIMEOUT, message="the run took too long"),
}


@dataclass(frozen=True)
class Ending:
    """The end of a run: its output or its error, and when."""

    status: RunStatus
    output: Any
    error: ErrorInfo | None
    at: datetime


async def ending_of(gateway: Gateway, workflow_id: str, execution: Execution) -> Ending:
    """Ask for the output or the error of a closed execution; raises UnavailableError."""
    status = execution.status
    output, error = None, _FROM_OUTSIDE.get(status)
    if error is None:
        output, error = await gateway.outcome(workflow_id)
        if status is RunStatus.CANCELLED:
            error = None
    return Ending(status, output, error, execution.closed_at or now())
