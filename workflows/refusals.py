"""What Temporal answers when it refuses something, in Sojourn's errors."""

from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from schemas.errors import (
    ConflictError,
    ErrorCode,
    InputError,
    LimitError,
    NotFoundError,
    Problem,
    SojournError,
    UnavailableError,
)
from workflows.codec import PayloadRefusedError

RETRY_AFTER = 5.0
_REFUSALS: dict[str, type[SojournError]] = {
    ErrorCode.CONFLICT: ConflictError,
    ErrorCode.NOT_FOUND: NotFoundError,
    ErrorCode.INVALID_INPUT: InputError,
}
_CLOSED_TEXTS = ("already completed", "workflow execution already")


def refusal(failure: WorkflowUpdateFailedError) -> SojournError:
    """Give the error with which a run has refused an update, as the run words it."""
    cause = failure.cause
    code = cause.type if isinstance(cause, ApplicationError) else None
    message = cause.message if isinstance(cause, ApplicationError) else str(cause or failure)
    kind = _REFUSALS.get(code or "", SojournError)
    details = cause.details if isinstance(cause, ApplicationError) else ()
    problems = [Problem.model_validate(found) for found in (details[0] if details else ())]
    return kind(message, code=code or ErrorCode.INTERNAL, problems=problems)


def unreadable(error: PayloadRefusedError) -> UnavailableError:
    """Give our error for what the codec refuses to open; with the right keys it opens later."""
    return UnavailableError(
        f"what Temporal holds cannot be read: {error}",
        hint="set SOJOURN_PAYLOAD_KEYS and SOJOURN_PAYLOAD_ENCRYPTION as on the workers",
        retry_after=RETRY_AFTER,
    )


def translated(error: RPCError) -> SojournError:
    """Give our error for what Temporal's server answers."""
    if error.status == RPCStatusCode.NOT_FOUND:
        if any(text in error.message.lower() for text in _CLOSED_TEXTS):
            return ConflictError("the run has ended", hint="start a new run instead")
        return NotFoundError("Temporal does not know this run")
    if error.status in (
        RPCStatusCode.INVALID_ARGUMENT,
        RPCStatusCode.RESOURCE_EXHAUSTED,
    ):
        if "size" in error.message or "larger than max" in error.message:
            return SojournError(error.message, code=ErrorCode.LIMIT_EXCEEDED)
        if "limit for signal events" in error.message:
            return LimitError(f"Temporal takes no more signals: {error.message}")
        if error.status == RPCStatusCode.INVALID_ARGUMENT:
            return SojournError(error.message, code=ErrorCode.INVALID_INPUT)
    return UnavailableError(
        f"Temporal answered {error.status.name.lower()}",
        retry_after=RETRY_AFTER,
        details={"ambiguous": error.status != RPCStatusCode.UNAVAILABLE},
    )
