"""Runs one attempt of an action inside a Temporal activity."""

import asyncio
import logging
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any

import structlog
from pydantic import BaseModel, ValidationError
from pydantic_core import to_json
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from activities._effects import once
from activities.backoff import next_delay
from activities.context import ActionContext
from activities.errors import ActionError, NotYetError, PacedError, invalid_input, is_retryable
from activities.heartbeats import Heartbeats
from activities.logs import LogLines
from activities.masking import Masks, masking
from activities.services import Services
from db import tenancy
from db.run_log_table import LogLevel, LogSource
from schemas.actions import StepContext
from schemas.errors import ErrorCode, SojournError
from schemas.markers import holds_markers
from schemas.policies import OWN_RETRIES, Retry
from schemas.run import MAX_OUTPUT_BYTES

if TYPE_CHECKING:
    from activities.registry import Action

_DEFAULT_RETRY = Retry()
_random = Random()  # noqa: S311 - spreads retries, guards nothing
_logger = logging.getLogger(__name__)


async def execute(entry: "Action", services: Services, params: Any, context: Any) -> Any:
    """Run one attempt as the Temporal activity that this is; see `attempt`."""
    info = activity.info()
    timeout = info.start_to_close_timeout or entry.timeout
    with Heartbeats(info.heartbeat_timeout):
        return await attempt(entry, services, params, context, number=info.attempt, timeout=timeout)


async def attempt(
    entry: "Action",
    services: Services,
    params: Any,
    context: Any,
    *,
    number: int,
    timeout: timedelta,
) -> Any:
    """Validate, run and cap one attempt; every failure leaves as an ApplicationError.

    `params` are the step's rendered parameters, `context` a dumped StepContext; `number` counts
    the activity's attempts. Returns the result as JSON values, at most MAX_OUTPUT_BYTES of them.
    Secrets that the attempt was given are hidden from the result and from the failure, which are
    kept. Call it in a task of its own.
    """
    retry, before = OWN_RETRIES.get(entry.name, _DEFAULT_RETRY), 0
    step, lines = None, LogLines()
    failure: ApplicationError | None = None
    cause: Exception | None = None
    with masking() as masks:
        try:
            step = read_context(context)
            # For good, as below: whatever the attempt does to rows, it does to its workspace's.
            tenancy.enter(step.workspace)
            before = step.attempts
            if step.retry:
                retry = Retry.model_validate(step.retry)
            if holds_markers(params):
                params = await services.vault.reveal(step.workspace, params)
            parsed = entry.params.model_validate(params)
            scope = ActionContext(
                step=step,
                services=services,
                attempt=before + number,
                timeout=timeout,
                lines=lines,
            )
            # Bound for good: the task has a context of its own.
            structlog.contextvars.bind_contextvars(
                correlation_id=step.correlation_id, run_id=step.run_id, step=step.path
            )
            return {"attempt": number, "result": await _result(entry, parsed, scope, masks)}
        except ValidationError as error:
            fault = invalid_input(entry.name, error)
            failure, cause = application_error(fault, retry, number), error
        except SojournError as error:
            failure, cause = application_error(error, retry, number, before), error
        except Exception as error:
            _logger.exception("action %s failed in an unforeseen way", entry.name)
            fault = ActionError(
                f"{entry.name} failed unexpectedly: {type(error).__name__}", code=ErrorCode.INTERNAL
            )
            failure, cause = application_error(fault, retry, number, before), error
        finally:
            if failure is not None:
                if step is not None and _ends(step, cause, before + number):
                    failure = _final(failure)
                _log_failure(lines, failure, before + number)
            if step is not None:
                await lines.keep(services, step, masks, timeout)
        assert failure is not None, "whoever comes here has failed"
        if masks:
            # The cause travels with a failure, in its own words: it stays behind.
            raise hidden_in(failure, masks) from None
        raise failure from cause


async def _result(
    entry: "Action", params: BaseModel, scope: ActionContext, masks: Masks
) -> dict[str, Any]:
    """Run the action, behind the ledger where its effect must not happen twice."""

    async def perform() -> dict[str, Any]:
        kept = dump_result(entry.name, await _run(entry, params, scope))
        return masks.value(kept) if masks else kept

    if not (scope.step.once and entry.ledger == "common"):
        return await perform()
    told = await once(entry.name, scope, perform)
    # One that an operator has marked as sent says no more than he has.
    fields = entry.result.model_fields.items()
    return {**{field.serialization_alias or name: None for name, field in fields}, **told}


def _ends(step: StepContext, cause: Exception | None, tried: int) -> bool:
    """Tell whether Temporal must not try again: the run waits itself, or no attempt is left.

    Of a step that must not take effect twice Temporal makes one attempt more, which only looks
    what became of the last one: that is for lost workers.
    """
    return (isinstance(cause, NotYetError) and step.turns) or (step.once and tried >= step.limit)


async def _run(entry: "Action", params: BaseModel, scope: ActionContext) -> BaseModel:
    """Run the action; only a cancellable one is cut off by a cancel, the others come to their end.

    A mail that is half handed over would be in doubt for ever.
    """
    call = entry.function(params, scope)
    if entry.cancellable and not scope.step.once:
        return await call
    task = asyncio.ensure_future(call)
    while True:
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise
            _logger.info("cancel of %s waits for its end", entry.name)


def _log_failure(lines: LogLines, failure: ApplicationError, attempt: int) -> None:
    if failure.category is ApplicationErrorCategory.BENIGN:
        return
    lines.add(
        LogLevel.ERROR if failure.non_retryable else LogLevel.WARNING,
        f"attempt {attempt} failed: {failure.type}: {failure.message}",
        {"code": failure.type, "attempt": attempt, "retryable": not failure.non_retryable},
        source=LogSource.SYSTEM,
    )


def read_context(value: Any) -> StepContext:
    """Read the activity's second argument; raises ActionError INVALID_INPUT if it is none."""
    try:
        return StepContext.model_validate(value)
    except ValidationError as error:
        raise invalid_input("the step context", error, "context") from error


def dump_result(name: str, result: BaseModel) -> Any:
    """Turn a result into JSON values.

    Raises LIMIT_EXCEEDED where its JSON is above MAX_OUTPUT_BYTES: a larger one would be refused
    by the server after the work was done, and the work retried.
    """
    size = len(to_json(result, by_alias=True))
    if size > MAX_OUTPUT_BYTES:
        raise ActionError(
            f"the result of {name} has {size:,} bytes; a step keeps at most {MAX_OUTPUT_BYTES:,}",
            code=ErrorCode.LIMIT_EXCEEDED,
            retryable=False,
            details={"bytes": size, "limit": MAX_OUTPUT_BYTES},
        )
    return result.model_dump(mode="json", by_alias=True)


def application_error(
    error: SojournError, retry: Retry | None = None, attempt: int = 1, before: int = 0
) -> ApplicationError:
    """Turn an error into Temporal's, typed with our code and timed by the step's retry policy.

    `only` and `except` narrow what is retried; neither makes a permanent error retryable.
    Without a policy the activity's own backoff applies.
    """
    code = str(error.code)
    retryable = is_retryable(error)
    if retry is not None and not isinstance(error, NotYetError):
        retryable = retryable and code not in retry.except_
        retryable = retryable and (not retry.only or code in retry.only)
    delay: timedelta | None = None
    if retry is not None and retryable:
        own = timedelta(seconds=error.seconds) if isinstance(error, PacedError) else None
        delay = next_delay(retry, before + attempt, _random, error.retry_after, own)
    category = ApplicationErrorCategory.UNSPECIFIED
    if isinstance(error, NotYetError):
        delay = timedelta(seconds=error.seconds)
        # Not in the logs and the metrics of failures: a long queue is no fault.
        category = ApplicationErrorCategory.BENIGN
    return ApplicationError(
        error.message,
        {**_details(error), "attempt": attempt},
        type=code,
        non_retryable=not retryable,
        next_retry_delay=delay,
        category=category,
    )


def _final(failure: ApplicationError) -> ApplicationError:
    """Give a failure anew that Temporal does not retry: the run waits, and begins another."""
    return ApplicationError(
        failure.message,
        *failure.details,
        type=failure.type,
        non_retryable=True,
        category=failure.category,
    )


def hidden_in(failure: ApplicationError, masks: Masks) -> ApplicationError:
    """Give a failure anew, with the secrets hidden in its message and details."""
    return ApplicationError(
        masks.text(failure.message),
        *masks.value(failure.details),
        type=failure.type,
        non_retryable=failure.non_retryable,
        next_retry_delay=failure.next_retry_delay,
        category=failure.category,
    )


def _details(error: SojournError) -> dict[str, Any]:
    details = dict(error.details)
    if error.hint is not None:
        details["hint"] = error.hint
    if error.problems:
        details["problems"] = [
            problem.model_dump(mode="json", exclude_none=True) for problem in error.problems
        ]
    return details
