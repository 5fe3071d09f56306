"""Rewind: a run goes back to an earlier step; what does not follow from it keeps its result."""

import re
from collections.abc import Iterable
from typing import Any

from temporalio import workflow

from workflows.execution import Execution
from workflows.frame import Frame
from workflows.walk import last_output

with workflow.unsafe.imports_passed_through():
    from schemas.graph import dependents, inside
    from schemas.run import StepState, StepStatus
    from schemas.step_base import StepBase, StepLists
    from schemas.steps import Agent, Approval, Parallel, Repeat

_LOOP = re.compile(r"([a-z][a-z0-9_]*)\[(\d+)\]\.")


def rewind(run: Execution, target: str) -> None:
    """Make the step at `target` and all that follows it run again, in the next walk.

    The steps around it are open again and keep their choices; other iterations and branches keep
    their results. What runs again gets another step key: it takes effect again. Compensations
    that are due stay due.
    """
    first = run.state.steps[target]
    steps = run.start.definition.by_id()
    again, around = dependents(run.start.definition.steps, first.id)
    later = {inner: name for name in around for inner in _later(steps[name])}
    for path, state in list(run.state.steps.items()):
        if (state.id in again and _beside(target, path)) or (
            state.id in later and _is_later(target, path, later[state.id])
        ):
            run.forget(path)
    for path, state in list(run.state.steps.items()):
        if state.id in around and target.startswith(path.removesuffix(state.id)):
            _reopen(run, steps[state.id], state, target, first.id)
    run.state.rounds += 1


def asides(steps: Iterable[StepBase]) -> list[str]:
    """Give the ids of the steps beside the course: compensations, tools, reminders, escalations."""
    lists: StepLists = []
    for step in steps:
        lists.append(("compensate", step.compensate))
        if isinstance(step, Agent):
            lists += step.tool_lists()
        if isinstance(step, Approval):
            lists += [(name, inner) for name, inner in step.hidden_lists() if "." in name]
    return _ids(lists)


def _later(step: StepBase) -> list[str]:
    """Give the steps of a loop whose iterations follow each other."""
    return inside(step) if isinstance(step, Repeat) else []


def _loops(path: str) -> list[tuple[str, int]]:
    return [(match[1], int(match[2])) for match in _LOOP.finditer(path)]


def _beside(target: str, path: str) -> bool:
    """True unless the two stand in different iterations of a loop around both."""
    for (loop, index), (other, place) in zip(_loops(target), _loops(path), strict=False):
        if loop != other:
            return True
        if index != place:
            return False
    return True


def _is_later(target: str, path: str, repeat: str) -> bool:
    """True for a step in a later iteration of the repeat around the target."""
    for (loop, index), (other, place) in zip(_loops(target), _loops(path), strict=False):
        if loop != other:
            return False
        if loop == repeat:
            return place > index
        if index != place:
            return False
    return False


def _reopen(run: Execution, step: StepBase, state: StepState, target: str, target_id: str) -> None:
    """Open a step around the target again, so that its next entry runs what it left."""
    state.status = StepStatus.RUNNING
    state.output = state.decision = None
    state.held = False
    state.finished_at = state.until = state.note = None
    if target_id not in _ids(step.recovery_lists()):
        # In a fallback the error is what brought the run there.
        state.error = None
    if isinstance(step, Parallel):
        state.data = _other_branches(run, step, state, target_id)
    if isinstance(step, Repeat):
        index = int(target.removeprefix(state.path)[1:].partition("]")[0])
        state.data = {"index": index, "output": None, "judged": True}
        if step.every is not None:
            state.until = run.after(step.every)
    run.recorder.touch(state.path)


def _ids(lists: StepLists) -> list[str]:
    return [inner for _, steps in lists for one in steps for inner in (one.id, *inside(one))]


def _other_branches(
    run: Execution, step: Parallel, state: StepState, target_id: str
) -> dict[str, Any]:
    """Give the outcomes of the branches that the target is not in; a loser has not succeeded."""
    frame = Frame.at(state.path.removesuffix(state.id), {})
    outcomes: dict[str, Any] = {}
    for branch in step.branches:
        if target_id in _ids([("do", branch.do)]):
            continue
        states = [run.state.steps.get(frame.path(one.id)) for one in branch.do]
        ends = [_lost(one, found) for one, found in zip(branch.do, states, strict=True) if found]
        if any(ends):
            outcomes[branch.name] = {"error": "did not succeed"}
        elif all(found is not None and found.status.done for found in states):
            outcomes[branch.name] = {"output": last_output(run, branch.do, frame)}
    return outcomes


def _lost(step: StepBase, state: StepState) -> bool:
    """True for a step at which its list ended before its end."""
    if state.status == StepStatus.FAILED:
        assert state.error is not None, "a failed step has its error"
        return step.error_action(state.error.code) != "continue"
    return state.status == StepStatus.CANCELLED
