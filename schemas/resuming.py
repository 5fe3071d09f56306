"""Where a run that has failed is taken up again: which of its steps keep their results.

Pure: the preview judges by the rows, the start by the run's own state.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from schemas.definition import Definition
from schemas.errors import ConflictError
from schemas.graph import dependents, inside
from schemas.run import StepState, StepStatus
from schemas.step_base import StepBase
from schemas.steps import Step

_SETTLED = frozenset({StepStatus.COMPLETED, StepStatus.SKIPPED})
# Lists beside the course of a run: what undoes a step, reminders and escalations.
_ASIDE = ("compensate", "remind.", "escalate.")


@dataclass
class Course:
    """The steps of a run's course: the ids around each, from the outside in.

    `recovers` maps a step of a fallback to the outermost step that it stands for.
    """

    around: dict[str, list[str]] = field(default_factory=dict)
    recovers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, definition: Definition) -> "Course":
        """Read the course off a definition."""
        found = cls()
        found._read(definition.steps, [], None)
        return found

    def _read(self, steps: list[Step], around: list[str], recovers: str | None) -> None:
        for step in steps:
            self.around[step.id] = around
            if recovers is not None:
                self.recovers[step.id] = recovers
            for name, nested in step.step_lists():
                if not name.startswith(_ASIDE):
                    fallback = step.id if name.startswith("on_error") else None
                    self._read(nested, [*around, step.id], recovers or fallback)


def restart_points(
    steps: Mapping[str, StepState], definition: Definition, failed_at: str | None
) -> list[str]:
    """Give the paths from which a run goes on: they and all that follows them run again.

    That is the step that failed, what was cut off with it, and what was undone since. Raises
    ConflictError for a run that had reached its goal.
    """
    reached = {step.id for step in definition.on_goal}
    if any(state.id in reached for state in steps.values()):
        raise ConflictError(
            "the run had reached its goal: it cannot go on from a step", hint="re-drive from start"
        )
    course = Course.of(definition)
    by_id = definition.by_id()
    failed = _failed(steps, course, failed_at)
    whole: list[str] = []
    open_: list[str] = []
    chain: set[str] = set()
    if failed is not None:
        whole.append(failed)
        chain = {failed, *(above.path for above in _above(steps, course, steps[failed]))}
    for path, state in steps.items():
        if state.id not in course.around or path == failed:
            continue
        if state.status == StepStatus.COMPENSATED or _undone(steps, state, by_id[state.id]):
            whole.append(path)
        elif _is_cut_off(state, by_id[state.id]) and not any(
            _is_settled(other, chain) for other in _above(steps, course, state)
        ):
            open_.append(path)
    points = [*whole, *(path for path in open_ if not _holds(steps, course, path, whole + open_))]
    later: dict[str, list[str]] = {
        path: dependents(definition.steps, steps[path].id)[0] for path in points
    }
    first = [
        path
        for path in points
        if not _within(steps, course, path, whole)
        and not any(_follows(steps[path], steps[other], later[other]) for other in points)
    ]
    order = list(steps)
    return sorted(first, key=order.index)


def kept_steps(
    steps: Mapping[str, StepState], definition: Definition, points: list[str]
) -> dict[str, StepState]:
    """Give the steps that do not run anew, by ids: those of a loop's other rounds count as anew."""
    course = Course.of(definition)
    again: set[str] = set()
    for path in points:
        again.update(dependents(definition.steps, steps[path].id)[0])
    return {
        path: state
        for path, state in steps.items()
        if state.id in course.around and state.id not in again
    }


def _failed(steps: Mapping[str, StepState], course: Course, failed_at: str | None) -> str | None:
    """Give the path of the step that failed: of the step itself where its fallback failed too.

    Of a step in a child run, the step of this run that started it.
    """
    prefix, _, identity = (failed_at or "").rpartition(".")
    if identity not in course.around:
        return None
    prefix = f"{prefix}." if prefix else ""
    names = [course.recovers.get(identity, identity), *reversed(course.around.get(identity, []))]
    return next((path for name in names if (path := _find(steps, prefix, name))), None)


def _find(steps: Mapping[str, StepState], prefix: str, identity: str) -> str | None:
    """Find a step in this iteration, or in the nearest one around it."""
    while True:
        if f"{prefix}{identity}" in steps:
            return f"{prefix}{identity}"
        if not prefix:
            return None
        before, _, _ = prefix.removesuffix(".").rpartition(".")
        prefix = f"{before}." if before else ""


def _above(steps: Mapping[str, StepState], course: Course, state: StepState) -> Iterator[StepState]:
    prefix = state.path.removesuffix(state.id)
    for name in course.around.get(state.id, []):
        path = _find(steps, prefix, name)
        if path is not None:
            yield steps[path]


def _is_settled(state: StepState, chain: set[str]) -> bool:
    """True for a step around that has ended well, or whose failure the run has borne."""
    return state.status in _SETTLED or (
        state.status == StepStatus.FAILED and state.path not in chain
    )


def _is_cut_off(state: StepState, step: StepBase) -> bool:
    """True for a step without a result that the run could go on with."""
    if state.status == StepStatus.FAILED:
        return state.error is None or step.error_action(state.error.code) != "continue"
    return state.status == StepStatus.CANCELLED or not state.status.done


def _undone(steps: Mapping[str, StepState], state: StepState, step: StepBase) -> bool:
    """True when its compensation has begun: nobody knows what of the step is left."""
    prefix = state.path.removesuffix(state.id)
    return any(
        f"{prefix}{name}" in steps
        for other in step.compensate
        for name in (other.id, *inside(other))
    )


def _holds(steps: Mapping[str, StepState], course: Course, path: str, others: list[str]) -> bool:
    """True for an open step around another point: that one opens it again."""
    return any(
        above.path == path for other in others for above in _above(steps, course, steps[other])
    )


def _follows(state: StepState, other: StepState, later: list[str]) -> bool:
    """True for a step that runs again anyway when the other one does."""
    around = other.path.removesuffix(other.id)
    return state.id != other.id and state.id in later and state.path.startswith(around)


def _within(steps: Mapping[str, StepState], course: Course, path: str, others: list[str]) -> bool:
    """True for a point inside another that runs again as a whole."""
    return any(above.path in others for above in _above(steps, course, steps[path]))
