"""`on_error: pause`: a failed step waits for an operator's decision."""

import asyncio

from temporalio import workflow

from workflows.execution import Execution
from workflows.unwinding import Aborted, RunFailed

with workflow.unsafe.imports_passed_through():
    from schemas.run import RECOVERY_REVISION, StepState, StepStatus


async def hold(run: Execution, state: StepState) -> bool:
    """Wait for the decision; True to run the step again, False when it was skipped.

    Raises Aborted when the operator aborts.
    """
    assert state.error is not None, "only a failed step is held"
    state.held = True
    await run.waiting(state, f"failed with {state.error.code}; an operator must decide")
    final = run.start.revision >= RECOVERY_REVISION
    try:
        await run.wait(lambda: state.decision is not None, None, f"{state.path}: held")
    except asyncio.CancelledError:
        # The operator was told that the abort was taken: the loser of a race keeps to it.
        if not final or state.decision is None or state.decision.action != "abort":
            raise
    decision = state.decision
    assert decision is not None, "the wait ends with a decision"
    state.held, state.decision, state.note = False, None, None
    run.recorder.touch(state.path)
    if decision.action == "abort":
        state.status = StepStatus.FAILED
        state.finished_at = workflow.now()
        raise Aborted(state.error) if final else RunFailed(state.error)
    if decision.action == "skip":
        state.status = StepStatus.SKIPPED
        state.output = decision.output
        run.keep(state)
        return False
    state.error = None
    state.input = state.choice = state.data = state.until = None
    if decision.input is not None:
        # Another request: the receiver must not take it for the one that it knows by its key.
        run.state.rounds += 1
        state.round = run.state.rounds
    state.override = decision.input
    # Its guard is judged again too: the operator may have changed what it reads.
    state.status = StepStatus.PENDING
    run.forget_inside(state.path)
    await run.recorder.catch_up()
    return True
