"""An action: an activity called by its name with the rendered parameters and nothing else."""

from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import Priority, RetryPolicy
from temporalio.exceptions import ActivityError

from workflows.execution import Execution
from workflows.frame import Frame
from workflows.outcomes import error_info
from workflows.unwinding import RunFailed

with workflow.unsafe.imports_passed_through():
    from schemas.policies import DEFAULT_TIMEOUT, Retry
    from schemas.run import StepState
    from schemas.steps import ActionStep

# Every action heartbeats in the background, so that a lost worker shows long before the timeout.
_HEARTBEAT = timedelta(seconds=15)
_DEFAULT_RETRY = Retry()


async def run(run: Execution, step: ActionStep, state: StepState, frame: Frame) -> Any:
    """Render `with`, execute the activity and give its result; raises SojournError."""
    params = run.render(step.with_, frame)
    state.input = params
    defaults = run.start.definition.defaults
    retry = step.retry or defaults.retry or _DEFAULT_RETRY
    timeout = step.timeout or defaults.timeout or DEFAULT_TIMEOUT
    context = run.context(state.path)
    # The activity computes the jittered delay itself, so it must know the policy.
    if retry is not _DEFAULT_RETRY:
        context.retry = retry.model_dump(mode="json", by_alias=True, exclude_unset=True)
    await run.recorder.catch_up()
    run.recorder.queued()
    state.attempts = 1
    try:
        result = await workflow.execute_activity(
            step.type,
            args=[params, context.model_dump(mode="json", exclude_defaults=True)],
            activity_id=state.path,
            summary=step.title or step.id,
            start_to_close_timeout=timeout,
            heartbeat_timeout=min(timeout, _HEARTBEAT),
            retry_policy=RetryPolicy(
                initial_interval=retry.initial,
                backoff_coefficient=retry.factor,
                maximum_interval=retry.max,
                maximum_attempts=retry.attempts,
            ),
            # The record must say whether a mail went out, so the end of a cancelled one is awaited.
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            priority=Priority(priority_key=step.priority)
            if step.priority
            else Priority.default,
        )
    except ActivityError as error:
        info = error_info(error, state.path)
        if info.details is not None:
            state.attempts = info.details.pop("attempt", state.attempts)
        raise RunFailed(info) from error
    return result
