"""Stretches: a straight run of inline steps as one local activity.

The activity runs ahead; then each step takes what it found there, as from an activity of its own,
and nothing comes between: no pause, no cancel and no boundary, for these steps have run.
"""

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError, CancelledError, TimeoutError, TimeoutType

from workflows.execution import Execution
from workflows.frame import Frame
from workflows.inline import inline_timeout, is_inline, policies, told
from workflows.tasks import result_of

with workflow.unsafe.imports_passed_through():
    from schemas import expressions
    from schemas.run import STRETCH_REVISION, TURNS_REVISION, StepState
    from schemas.steps import ActionStep, Step
    from schemas.stretch import MAX_STRETCH_STEPS, STRETCH, Outcome, Plan, PlannedStep

# Over the steps' own timeouts together, in which each is bounded by itself.
_MARGIN = timedelta(seconds=2)
# Other attempts are the interpreter's, as those of every inline step.
_ONCE = RetryPolicy(maximum_attempts=1)
_CANCELLATION = workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED


def is_straight(run: Execution, waits_for: dict[str, list[str]]) -> bool:
    """True for a list in which each step waits for the one before it, given who waits for whom."""
    if run.start.revision < STRETCH_REVISION or len(waits_for) < 2:
        return False
    before: list[str] = []
    for step, needs in waits_for.items():
        if needs != before:
            return False
        before = [step]
    return True


def plan(
    run: Execution, step: ActionStep, state: StepState, params: Any, frame: Frame
) -> Plan | None:
    """Plan the stretch that begins with an inline step; None when it would be that step alone."""
    line = run.line
    if line is None or line.step is not step or line.frame is not frame:
        return None
    if asyncio.current_task() is not run.trunk or not _begins(run, step, state, params):
        return None
    steps = [step]
    for following in line.following[: MAX_STRETCH_STEPS - 1]:
        if not _may_follow(run, steps[-1], following, frame):
            break
        assert isinstance(following, ActionStep), "only an action may follow"
        steps.append(following)
    if len(steps) == 1:
        return None
    named = list(
        expressions.references([step.output, *([one.with_, one.output] for one in steps[1:])])
    )
    return Plan(
        steps=[_planned(run, one, frame) for one in steps],
        params=params,
        variables=run.scope(named, frame),
        room=run.room,
        now=workflow.now(),
    )


def _begins(run: Execution, step: ActionStep, state: StepState, params: Any) -> bool:
    """True for an inline step behind which nothing pending keeps others from running."""
    return (
        state.attempts == 0
        and is_inline(run, step, params, policies(run, step)[1])
        and state.override is None
        and not step.compensate
        and not step.savepoint
        and not run.state.paused
        and not run.quiescing
        and not run.unwinding
        and workflow.cancellation_reason() is None
    )


def _may_follow(run: Execution, before: Step, step: Step, frame: Frame) -> bool:
    """True for a step that can run in the same stretch as the one before it."""
    if not isinstance(step, ActionStep) or step.if_ is not None:
        return False
    if step.compensate or step.savepoint or frame.path(step.id) in run.state.steps:
        return False
    # The interpreter renders an output again, at a later time.
    if before.output is not None and _reads(before.output, "run", "now"):
        return False
    # A view of all steps would show too few of them.
    if _reads(step.with_, "steps") or (step.output is not None and _reads(step.output, "steps")):
        return False
    return is_inline(run, step, step.with_, policies(run, step)[1])


def _reads(value: Any, *chain: str) -> bool:
    """True for a value that reads this variable, or one that it is a part of."""
    return any(found == chain[: len(found)] for found in expressions.references(value))


def _planned(run: Execution, step: ActionStep, frame: Frame) -> PlannedStep:
    path = frame.path(step.id)
    retry, given = policies(run, step)
    context = run.context(path)
    if path not in run.state.steps:
        context.round = run.state.rounds
    context.retry = told(retry)
    context.turns = run.start.revision >= TURNS_REVISION
    return PlannedStep(
        path=path,
        id=step.id,
        type=step.type,
        with_=step.with_,
        output=step.output,
        timeout=inline_timeout(given).total_seconds(),
        context=context.model_dump(mode="json", exclude_defaults=True),
    )


async def execute(run: Execution, planned: Plan) -> Outcome:
    """Run a stretch; gives its first step's outcome, and keeps those after it for their steps."""
    first, last = planned.steps[0], planned.steps[-1]
    timeouts = sum(step.timeout for step in planned.steps)
    async with run.recorder.slot():
        handle = workflow.start_local_activity(
            STRETCH,
            planned,
            activity_id=first.path,
            summary=f"{len(planned.steps)} inline steps, {first.path} to {last.path}",
            start_to_close_timeout=timedelta(seconds=timeouts) + _MARGIN,
            retry_policy=_ONCE,
            cancellation_type=_CANCELLATION,
        )
        found = await result_of(handle)
    outcomes = [Outcome.model_validate(one) for one in found]
    run.ahead = {outcome.path: outcome for outcome in outcomes[1:]}
    return outcomes[0]


def answer_of(outcome: Outcome) -> Any:
    """Give a step's answer as its own activity would; raises the same FailureError."""
    if outcome.cancelled:
        raise CancelledError("cancelled")
    if outcome.timed_out:
        raise TimeoutError("timed out", type=TimeoutType.START_TO_CLOSE, last_heartbeat_details=[])
    failure = outcome.failure
    if failure is not None:
        raise ApplicationError(
            failure.message,
            failure.details,
            type=failure.code,
            non_retryable=failure.permanent,
            next_retry_delay=None if failure.delay is None else timedelta(seconds=failure.delay),
        )
    return {"attempt": outcome.attempt, "result": outcome.result}
