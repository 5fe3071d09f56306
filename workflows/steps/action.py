"""An action: an activity called by its name with the rendered parameters and nothing else."""

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import Priority, RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, FailureError, TimeoutError

from workflows import stretch, undo
from workflows.execution import Execution
from workflows.frame import Frame
from workflows.inline import inline_timeout, is_inline, policies, told
from workflows.outcomes import error_info
from workflows.recorder import LOCAL_RETRY_THRESHOLD
from workflows.tasks import result_of, shielded
from workflows.unwinding import RunFailed

with workflow.unsafe.imports_passed_through():
    from schemas.errors import ErrorCode
    from schemas.policies import DEFAULT_TIMEOUT
    from schemas.run import (
        MAX_PARAMS_BYTES,
        TIMED_RETRIES_REVISION,
        TURNS_REVISION,
        ErrorInfo,
        StepState,
    )
    from schemas.steps import ActionStep

# Every action heartbeats in the background, so that a lost worker shows long before the timeout.
_HEARTBEAT = timedelta(seconds=10)
# The record must say whether a mail went out, so the end of a cancelled one is awaited.
_CANCELLATION = workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
# While the database is away a run waits; that must not use up what the step may try.
_DATABASE_PAUSE = timedelta(seconds=15)


async def run(run: Execution, step: ActionStep, state: StepState, frame: Frame) -> Any:
    """Render `with`, execute the activity and give its result; raises SojournError."""
    ahead = run.ahead.get(state.path)
    if ahead is not None:
        params = state.input = ahead.input
    else:
        params = run.render(step.with_, frame) if state.override is None else state.override
        run.check_size(params, MAX_PARAMS_BYTES, "the rendered parameters")
        state.input = params
        await run.recorder.catch_up()
    while True:
        if state.until is not None:
            # Before another attempt: no slot is held, and no signal kept out, while it waits.
            await run.wait(lambda: False, state.until, f"{step.id}: before another attempt")
            state.until = None
        try:
            answer = await _perform(run, step, state, params, frame)
        except FailureError as error:
            info = error_info(error, state.path)
            pause = _turn(run, state, info)
            if pause is None:
                pause = _pause(run, step, state, params, error)
            _count_attempts(state, info)
            if pause is None:
                if info.code != ErrorCode.DATABASE_UNAVAILABLE:
                    raise RunFailed(info) from error
                pause = _DATABASE_PAUSE
            state.until = workflow.now() + pause
        else:
            state.data = None
            return answer


async def _perform(
    run: Execution, step: ActionStep, state: StepState, params: Any, frame: Frame
) -> Any:
    """Give the result of one attempt: of a stretch that the step is a part of, or by itself."""
    outcome = run.ahead.pop(state.path, None)
    if outcome is None:
        planned = stretch.plan(run, step, state, params, frame)
        if planned is None:
            return await _execute(run, step, state, params)
        state.attempts += 1
        outcome = await stretch.execute(run, planned)
    else:
        state.attempts += 1
    answer = stretch.answer_of(outcome)
    run.ended[state.path] = outcome.finished_at
    if run.ahead:
        run.recorder.ran_ahead()
    else:
        await shielded(run.recorder.inline())
    state.attempts += answer["attempt"] - 1
    return answer["result"]


async def _execute(run: Execution, step: ActionStep, state: StepState, params: Any) -> Any:
    retry, given = policies(run, step)
    context = run.context(state.path)
    context.retry = told(retry)
    if step.once:
        context.once, context.limit = True, retry.attempts
    inline = is_inline(run, step, params, given)
    timed = inline and run.start.revision >= TIMED_RETRIES_REVISION
    context.turns = run.start.revision >= TURNS_REVISION
    tried = 0
    if (timed or context.turns) and state.data is not None:
        tried = context.attempts = state.data["tried"]
    args = [params, context.model_dump(mode="json", exclude_defaults=True)]
    policy = RetryPolicy(
        initial_interval=retry.initial,
        backoff_coefficient=retry.factor,
        maximum_interval=retry.max,
        # One more than the step's: it sends nothing, and parks what a lost worker left in doubt.
        maximum_attempts=1 if timed else retry.attempts - tried + step.once,
    )
    state.attempts += 1
    if inline:
        async with run.recorder.slot():
            handle = workflow.start_local_activity(
                step.type,
                args=args,
                activity_id=state.path,
                summary=step.title,
                start_to_close_timeout=inline_timeout(given),
                retry_policy=policy,
                local_retry_threshold=LOCAL_RETRY_THRESHOLD,
                cancellation_type=_CANCELLATION,
            )
            _count_effect(run, step, state, handle)
            answer = await result_of(handle)
        # What has run has taken effect, whatever cancel comes now.
        await shielded(run.recorder.inline())
    else:
        timeout = given or run.start.timeouts.get(step.type, DEFAULT_TIMEOUT)
        run.recorder.queued()
        handle = workflow.start_activity(
            step.type,
            args=args,
            activity_id=state.path,
            # Without a title the activity's id, which is the path, already says it.
            summary=step.title,
            start_to_close_timeout=timeout,
            heartbeat_timeout=min(timeout, _HEARTBEAT),
            retry_policy=policy,
            cancellation_type=_CANCELLATION,
            priority=Priority(priority_key=step.priority) if step.priority else Priority.default,
        )
        _count_effect(run, step, state, handle)
        answer = await result_of(handle)
    state.attempts += answer["attempt"] - 1
    return answer["result"]


def _count_effect(
    run: Execution, step: ActionStep, state: StepState, handle: "workflow.ActivityHandle[Any]"
) -> None:
    """Count the step's effect at the moment at which its result comes.

    Of several results in one workflow task the order is Temporal's, however deep the steps stand.
    """

    def count(task: "asyncio.Task[Any]") -> None:
        if not task.cancelled() and task.exception() is None:
            undo.took_effect(run, state)

    if step.compensate:
        handle.add_done_callback(count)


def _turn(run: Execution, state: StepState, info: ErrorInfo) -> timedelta | None:
    """Give the time until the step's turn, where its action says that it has not come yet.

    Waiting for it costs no attempt; those before it stay counted.
    """
    details = info.details or {}
    if run.start.revision < TURNS_REVISION or info.code != ErrorCode.RATE_LIMITED:
        return None
    if not isinstance(details.get("wait"), int | float):
        return None
    tried = (state.data or {"tried": 0})["tried"] + details.get("attempt", 1) - 1
    state.data = {"tried": tried} if tried else None
    state.attempts -= 1
    return timedelta(seconds=details["wait"])


def _pause(
    run: Execution, step: ActionStep, state: StepState, params: Any, error: FailureError
) -> timedelta | None:
    """Give the time before an inline step's next attempt; None when there is none.

    Temporal itself would repeat a local activity inside the workflow task, or hold it up.
    """
    retry, given = policies(run, step)
    if run.start.revision < TIMED_RETRIES_REVISION or not is_inline(run, step, params, given):
        return None
    tried = 1 + (state.data or {"tried": 0})["tried"]
    state.data = {"tried": tried}
    cause = error.cause if isinstance(error, ActivityError) else error
    if tried >= retry.attempts:
        return None
    if isinstance(cause, ApplicationError):
        return None if cause.non_retryable else cause.next_retry_delay or retry.initial
    if isinstance(cause, TimeoutError):
        return min(retry.initial * retry.factor ** min(tried - 1, 60), retry.max)
    return None


def _count_attempts(state: StepState, info: ErrorInfo) -> None:
    if info.details is not None:
        state.attempts += info.details.pop("attempt", 1) - 1
        info.details = info.details or None
