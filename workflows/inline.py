"""Which actions run inline, as local activities, and what their activities are told."""

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import workflow

from workflows.execution import Execution

with workflow.unsafe.imports_passed_through():
    from schemas.policies import OWN_RETRIES, Retry
    from schemas.run import INLINE_HTTP_REVISION
    from schemas.steps import MAX_INLINE_TIMEOUT, SAFE_METHODS, ActionStep

_DEFAULT_RETRY = Retry()


def policies(run: Execution, step: ActionStep) -> tuple[Retry, timedelta | None]:
    """Give the retry policy, and the timeout that the definition sets."""
    defaults = run.start.definition.defaults
    own = OWN_RETRIES.get(step.type, _DEFAULT_RETRY)
    retry = step.retry or defaults.retry or own
    return retry, step.timeout or defaults.timeout


def told(retry: Retry) -> dict[str, Any]:
    """Give what the activity must know of the policy: it computes the jittered delay itself."""
    if any(retry is one for one in (_DEFAULT_RETRY, *OWN_RETRIES.values())):
        return {}
    return retry.model_dump(mode="json", by_alias=True, exclude_unset=True)


def is_inline(run: Execution, step: ActionStep, params: Any, timeout: timedelta | None) -> bool:
    """True for a step that runs as a local activity: no server round trip, and no heartbeat.

    `params` may hold expressions still: a method that is one is not taken for a safe one.
    """
    if step.execution != "auto":
        return step.execution == "inline"
    return (
        run.start.revision >= INLINE_HTTP_REVISION
        and step.type == "http"
        and not step.once
        # Beside other steps it would wait for their local activities, and they for it.
        and asyncio.current_task() is run.trunk
        and timeout is not None
        and timeout <= MAX_INLINE_TIMEOUT
        and str(params.get("method", "GET")).upper() in SAFE_METHODS
    )


def inline_timeout(timeout: timedelta | None) -> timedelta:
    """Give the time that one attempt of an inline step may take."""
    return min(timeout or MAX_INLINE_TIMEOUT, MAX_INLINE_TIMEOUT)
