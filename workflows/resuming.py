"""The state with which a run begins that goes on where another one has failed."""

from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from pydantic_core import to_json

from schemas.resuming import Course, restart_points
from schemas.run import RunStart, RunState, RunStatus, StepState, StepStatus
from workflows.execution import Execution
from workflows.rewinding import rewind


class _Ended(Execution):
    """A run outside of Temporal: its steps can be dropped and opened, and not executed."""

    def __init__(self, start: RunStart, state: RunState) -> None:
        super().__init__(start, state, _never)

    def after(self, duration: timedelta) -> datetime:
        """Give the time so long from now, on the run's timescale."""
        return datetime.now(UTC) + duration / self.start.timescale


async def _never(*_: Any) -> NoReturn:
    raise AssertionError("a run that has ended executes nothing")


def carry_on(start: RunStart, state: RunState, failed_at: str | None) -> RunState:
    """Give the state with which a new run goes on from where the run of `start` has failed.

    Finished results stay; the step at `failed_at`, what was cut off with it or undone since, and
    all that follows them run again. Raises ConflictError as `restart_points`. `state` is used up.
    """
    points = restart_points(state.steps, start.definition, failed_at)
    state.undo = []
    run = _Ended(start, state)
    for path in points:
        loop = state.steps.get(path)
        if loop is None:
            continue
        rewind(run, path)
        if loop.type == "for_each" and isinstance(loop.data, dict) and "done" in loop.data:
            state.steps[path] = _reopened(loop)
    for step in state.steps.values():
        if step.type == "for_each" and not step.status.done and isinstance(step.data, dict):
            step.data = _without_failures(step.data)
    course = Course.of(start.definition).around
    for path in [path for path, step in state.steps.items() if step.id not in course]:
        run.forget(path)
    state.status, state.paused = RunStatus.RUNNING, False
    state.seq = state.generation = 0
    state.output = state.error = state.broken = state.moved_from = None
    return state


def _without_failures(outcomes: dict[str, Any]) -> dict[str, Any]:
    """Forget which items of a loop have failed, so that they run again."""
    if "done" in outcomes:
        return outcomes
    return {place: outcome for place, outcome in outcomes.items() if "error" not in outcome}


def _reopened(loop: StepState) -> StepState:
    """Open a loop in batches again: those whose items have all succeeded stay done."""
    done = {
        offset: outcomes
        for offset, outcomes in loop.data["done"].items()
        if not any("error" in outcome for outcome in outcomes)
    }
    size = sum(len(to_json(outcomes)) for outcomes in done.values())
    loop.data = {**loop.data, "done": done, "failed": 0, "bytes": size}
    loop.status = StepStatus.RUNNING
    loop.output = loop.error = loop.finished_at = loop.note = loop.decision = None
    loop.held = False
    return loop
