"""The local activity that takes a straight stretch of inline steps, one after the other."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from pydantic_core import to_json
from temporalio import activity
from temporalio.exceptions import ApplicationError

from schemas.errors import SojournError
from schemas.stretch import (
    MAX_STRETCH_BYTES,
    MAX_STRETCH_SECONDS,
    STRETCH,
    Outcome,
    Plan,
    PlannedStep,
    Scope,
    StretchFailure,
)

# Runs one attempt of a step, as the step's own activity does: `{"attempt", "result"}`, or an
# ApplicationError.
Attempt = Callable[[PlannedStep, Any], Awaitable[dict[str, Any]]]

# What a timeout has left behind comes to its end by itself.
_left: set[asyncio.Task[Any]] = set()


def build(attempt: Attempt) -> list[Callable[..., Any]]:
    """Give the activity of this module for a worker."""

    @activity.defn(name=STRETCH)
    async def stretch(plan: Any) -> list[dict[str, Any]]:
        outcomes = await _Stretch(Plan.model_validate(plan), attempt).run()
        return [outcome.model_dump(mode="json", exclude_defaults=True) for outcome in outcomes]

    return [stretch]


class _Stretch:
    """One way along a plan, until its end, the first error, a cancel, or enough of time or data."""

    def __init__(self, plan: Plan, attempt: Attempt) -> None:
        self._plan = plan
        self._attempt = attempt
        self._scope = Scope(plan)
        self._began = time.monotonic()
        self._bytes = 0

    async def run(self) -> list[Outcome]:
        """Give what was run; at least the first step, or its cancel is raised."""
        first = await self._take(self._plan.steps[0], self._plan.params)
        if first.cancelled:
            raise asyncio.CancelledError
        # The interpreter has them, and history need not hold them.
        first.input = None
        done = [first]
        for before, step in pairwise(self._plan.steps):
            if not self._goes_on(before, done[-1]):
                break
            try:
                params = self._scope.render(step.with_, self._now())
            except SojournError:
                # The interpreter meets the same error, and deals with it.
                break
            self._bytes += len(to_json(params))
            if self._bytes > MAX_STRETCH_BYTES:
                break
            outcome = await self._take(step, params)
            if outcome.cancelled and activity.is_worker_shutdown():
                # Nobody asked for the step's end: it is begun again.
                break
            done.append(outcome)
        return done

    def _goes_on(self, step: PlannedStep, outcome: Outcome) -> bool:
        """True when another step may begin after this one."""
        if not outcome.succeeded:
            return False
        self._bytes += len(to_json(outcome.result))
        return (
            self._scope.add(step, outcome.result, outcome.finished_at)
            and self._bytes < MAX_STRETCH_BYTES
            and time.monotonic() - self._began < MAX_STRETCH_SECONDS
            and not activity.is_cancelled()
        )

    def _now(self) -> datetime:
        # The run's clock: in a test that skips time it is not this machine's.
        return self._plan.now + timedelta(seconds=time.monotonic() - self._began)

    async def _take(self, step: PlannedStep, params: Any) -> Outcome:
        now = self._now()
        outcome = Outcome(
            path=step.path, type=step.type, input=params, started_at=now, finished_at=now
        )
        try:
            answer = await self._bounded(step, params)
            outcome.attempt, outcome.result = answer["attempt"], answer["result"]
        except ApplicationError as error:
            outcome.failure = _failure(error)
        except TimeoutError:
            outcome.timed_out = True
        except asyncio.CancelledError:
            outcome.cancelled = True
        outcome.finished_at = self._now()
        return outcome

    async def _bounded(self, step: PlannedStep, params: Any) -> dict[str, Any]:
        """Run one step within its timeout, as Temporal bounds an activity of its own."""
        # A task has a context of its own: what it logs and hides is this step's.
        task = asyncio.ensure_future(self._attempt(step, params))
        deadline = time.monotonic() + step.timeout
        while not task.done():
            left = deadline - time.monotonic()
            if left <= 0:
                _left.add(task)
                task.add_done_callback(_forget)
                task.cancel()
                raise TimeoutError
            try:
                await asyncio.wait([task], timeout=left)
            except asyncio.CancelledError:
                # The action itself knows whether it may be cut off.
                task.cancel()
        return task.result()


def _failure(error: ApplicationError) -> StretchFailure:
    delay = error.next_retry_delay
    return StretchFailure(
        code=error.type,
        message=error.message,
        details=error.details[0] if error.details else None,
        permanent=error.non_retryable,
        delay=None if delay is None else delay.total_seconds(),
    )


def _forget(task: asyncio.Task[Any]) -> None:
    _left.discard(task)
    if not task.cancelled():
        # Nobody waits for it; retrieved, so that the loop does not complain.
        task.exception()
