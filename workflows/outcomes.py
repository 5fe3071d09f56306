"""Temporal's failures as Sojourn's errors."""

import asyncio

from temporalio import workflow
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    CancelledError,
    FailureError,
    TimeoutError,
)

with workflow.unsafe.imports_passed_through():
    from schemas.errors import ErrorCode
    from schemas.run import ErrorInfo


def error_info(error: FailureError, path: str) -> ErrorInfo:
    """Give the error of a step whose activity failed for good.

    A local activity may raise its failure bare, and does so in a replay where the first execution
    saw it wrapped.

    Raises asyncio.CancelledError when the activity ended by cancellation.
    """
    cause = error.cause if isinstance(error, ActivityError) else error
    if isinstance(cause, CancelledError):
        raise asyncio.CancelledError from error
    if isinstance(cause, ApplicationError):
        details = cause.details[0] if cause.details else None
        return ErrorInfo(
            code=cause.type or ErrorCode.STEP_FAILED,
            message=cause.message,
            step=path,
            details=details if isinstance(details, dict) else None,
        )
    if isinstance(cause, TimeoutError):
        kind = cause.type.name.lower() if cause.type else "timeout"
        return ErrorInfo(
            code=ErrorCode.STEP_TIMEOUT,
            message=f"no answer in time ({kind})",
            step=path,
        )
    return ErrorInfo(code=ErrorCode.STEP_FAILED, message=str(cause or error), step=path)
