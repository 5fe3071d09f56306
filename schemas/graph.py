"""The order of a step list: who waits for whom, and which steps can have run before another."""

from collections.abc import Sequence
from difflib import get_close_matches

from schemas.errors import Problem
from schemas.rules import Rule, refused
from schemas.step_base import StepBase
from schemas.steps import Step


def dependencies(steps: Sequence[StepBase]) -> dict[str, list[str]]:
    """Give for each step of one list the ids it waits for.

    A step without `depends_on` waits for the step before it, the first one for none.
    """
    result: dict[str, list[str]] = {}
    previous: list[str] = []
    for step in steps:
        result[step.id] = previous if step.depends_on is None else list(step.depends_on)
        previous = [step.id]
    return result


def find_order_problems(steps: list[Step], path: str = "steps") -> list[Problem]:
    """Find unknown ids and cycles in `depends_on`, in a list and all lists inside it."""
    problems: list[Problem] = []
    ids = [step.id for step in steps]
    for index, step in enumerate(steps):
        here = f"{path}[{index}]"
        for number, name in enumerate(step.depends_on or []):
            if name not in ids:
                near = get_close_matches(name, ids, 1)
                hint = f"did you mean {near[0]!r}?" if near else "name steps of the same list"
                message = f"depends on {name!r}, which is no step of this list"
                place = f"{here}.depends_on[{number}]"
                problems.append(refused(Rule.UNKNOWN_DEPENDENCY, place, message, hint))
        for field, nested in step.step_lists():
            problems += find_order_problems(nested, f"{here}.{field}")
    if not problems and len(set(ids)) == len(ids):
        cycle = _find_cycle(dependencies(steps))
        if cycle:
            index = ids.index(cycle[0])
            message = f"the steps wait for each other: {' -> '.join(cycle)}"
            hint = "remove one of these from depends_on"
            problems.append(refused(Rule.CYCLE, f"{path}[{index}].depends_on", message, hint))
    return problems


def _find_cycle(edges: dict[str, list[str]]) -> list[str] | None:
    """Give one cycle (first id repeated at the end) by depth-first search without recursion."""
    finished: set[str] = set()
    for root in edges:
        trail: list[str] = []
        stack: list[tuple[str, int]] = [(root, 0)]
        while stack:
            node, position = stack.pop()
            if position == 0:
                if node in finished:
                    continue
                if node in trail:
                    return [*trail[trail.index(node) :], node]
                trail.append(node)
            if position < len(edges[node]):
                stack.append((node, position + 1))
                stack.append((edges[node][position], 0))
            else:
                finished.add(node)
                trail.remove(node)
    return None


def ancestors(steps: Sequence[StepBase]) -> dict[str, list[str]]:
    """Give for each step of one list all the ids that are done before it starts, in list order."""
    edges = dependencies(steps)
    order = [step.id for step in steps]
    result: dict[str, list[str]] = {}

    def collect(name: str) -> set[str]:
        seen: set[str] = set()
        pending = list(edges[name])
        while pending:
            current = pending.pop()
            if current not in seen:
                seen.add(current)
                pending += edges[current]
        return seen

    for name in order:
        before = collect(name)
        result[name] = [other for other in order if other in before]
    return result


def visible_inside(step: StepBase) -> list[StepBase]:
    """Give a step and all steps inside it whose results can be read from outside.

    The body of a loop is not visible from outside: it has one result for each iteration.
    """
    result = [step]
    for _, nested in step.visible_lists():
        for inner in nested:
            result += visible_inside(inner)
    return result


def dependents(steps: Sequence[Step], step_id: str) -> tuple[list[str], list[str]]:
    """Give what runs again when a step does: the ids to run anew, and the steps around it.

    Anew run the step, what waits for it in its list, what waits for the steps around it in
    theirs, and all that is inside of those.
    """
    again: list[str] = []
    around: list[str] = []
    _collect(list(steps), step_id, again, around)
    return again, around


def _collect(steps: list[Step], step_id: str, again: list[str], around: list[str]) -> bool:
    for step in steps:
        if step.id == step_id:
            again += [step.id, *inside(step)]
        elif any(_collect(nested, step_id, again, around) for _, nested in step.step_lists()):
            around.append(step.id)
        else:
            continue
        before = ancestors(steps)
        for other in steps:
            if step.id in before[other.id]:
                again += [other.id, *inside(other)]
        return True
    return False


def inside(step: StepBase) -> list[str]:
    """Give the ids of all steps inside a step."""
    return [
        inner
        for _, nested in step.step_lists()
        for other in nested
        for inner in (other.id, *inside(other))
    ]
