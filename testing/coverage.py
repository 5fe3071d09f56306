"""Branch coverage of a definition: which of the ways it may go the cases have gone."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from schemas.definition import Definition
from schemas.errors import ErrorCode
from schemas.run import StepStatus
from schemas.step_base import ErrorRoute, StepBase
from schemas.steps import (
    Approval,
    Condition,
    ForEach,
    Parallel,
    Repeat,
    Split,
    SubRun,
    Switch,
    Wait,
)
from schemas.steps_flow import HOLDOUT
from testing.loading import step_id
from testing.outcome import Outcome

GOAL = "goal"


@dataclass(frozen=True, order=True)
class Edge:
    """One way on from a step: `then`, `variant b`, `timeout`, `on_error`…; `goal` has no step."""

    step: str
    way: str

    def __str__(self) -> str:
        """Give `step: way`."""
        return f"{self.step}: {self.way}"


@dataclass(frozen=True)
class Coverage:
    """Edges of one definition, in the order of its text, and those that were taken."""

    edges: list[Edge]
    taken: set[Edge]

    @property
    def missed(self) -> list[Edge]:
        """The edges that no case took."""
        return [edge for edge in self.edges if edge not in self.taken]

    @property
    def percent(self) -> float:
        """Edges taken per hundred; 100 where there is nothing to choose."""
        return 100 * (1 - len(self.missed) / len(self.edges)) if self.edges else 100.0


def measure(definition: Definition, outcomes: Iterable[Outcome]) -> Coverage:
    """Give the coverage of a definition by these runs of it."""
    edges = find_edges(definition)
    taken = {edge for outcome in outcomes for edge in edges_taken(definition, outcome)}
    return Coverage(edges, taken.intersection(edges))


# -- the edges there are ---------------------------------------------------------------------


def find_edges(definition: Definition) -> list[Edge]:
    """Give every edge of a definition, in the order of its text."""
    edges: list[Edge] = []
    for _, step in definition.walk():
        edges += [Edge(step.id, way) for way in _ways(step)]
    if definition.on_failure:
        edges.append(Edge("on_failure", "run failed"))
    if definition.goal is not None:
        edges.append(Edge(GOAL, "reached"))
    return edges


def _ways(step: StepBase) -> Iterator[str]:
    if step.if_ is not None and not isinstance(step, Condition):
        yield from ("if true", "if false")
    yield from _kind_ways(step)
    if step.on_error != "fail":
        yield "no error"
        yield from (way for _, way in _error_ways(step))
    if step.compensate:
        yield "compensate"


def _kind_ways(step: StepBase) -> list[str]:
    match step:
        case Condition():
            return ["then", "else"]
        case Switch():
            return [*(f"case {index + 1}" for index in range(len(step.cases))), "default"]
        case Split():
            names = [variant.name for variant in step.variants if variant.weight]
            return [f"variant {name}" for name in [*names, *([HOLDOUT] if step.holdout else [])]]
        case Parallel():
            return [f"branch {branch.name}" for branch in step.branches]
        case ForEach():
            dynamic = not isinstance(step.items, list)
            ways = ["no items", "items"] if dynamic else ["items" if step.items else "no items"]
            return [*ways, *(["failed items"] if step.tolerate is not None else [])]
        case Repeat():
            zero = ["no iteration"] if step.while_ is not None else []
            return [*zero, "iterations", "max reached"]
        case Wait():
            return ["came", "timeout"] if step.timeout is not None else []
        case Approval():
            timed = ["timeout"] if step.timeout is not None else []
            asked = ["remind"] if step.remind is not None else []
            raised = ["escalate"] if step.escalate is not None and step.escalate.do else []
            return ["approved", "rejected", *timed, *asked, *raised]
        case SubRun():
            followed = step.mode == "wait" and step.depends == "conditional"
            return ["completed", "not completed"] if followed else []
        case _:
            return []


def _error_ways(step: StepBase) -> list[tuple[ErrorRoute | None, str]]:
    """Give the ways of an error: one for the whole `on_error`, or one for each of its routes."""
    if isinstance(step.on_error, list):
        routes = [route for route in step.on_error if isinstance(route, ErrorRoute)]
        if routes:
            return [
                (route, f"on_error {' '.join(route.codes) if route.codes else 'any'}")
                for route in routes
            ]
    return [(None, "on_error")]


# -- the edges that a run took ---------------------------------------------------------------


def edges_taken(definition: Definition, outcome: Outcome) -> set[Edge]:
    """Give the edges that one run took."""
    steps = definition.by_id()
    taken: set[Edge] = set()
    for verdict in outcome.verdicts:
        taken |= _verdict_edges(verdict.path, verdict.value, steps)
    for path in outcome.steps:
        step = steps.get(step_id(path))
        if step is not None:
            taken |= {Edge(step.id, way) for way in _ways_of(path, step, outcome)}
    if outcome.error is not None:
        taken.add(Edge("on_failure", "run failed"))
    if outcome.goal_reached:
        taken.add(Edge(GOAL, "reached"))
    return taken


def _verdict_edges(path: str, value: object, steps: dict[str, StepBase]) -> set[Edge]:
    head, _, last = path.rpartition(".")
    if last == "if" and step_id(head) in steps:
        return {Edge(step_id(head), "if true" if value else "if false")}
    name = step_id(path)
    step = steps.get(name)
    match step:
        case Condition():
            return {Edge(name, "then" if value else "else")}
        case Switch():
            assert isinstance(value, int), "a switch is decided by the number of its case"
            return {Edge(name, "default" if value < 0 else f"case {value + 1}")}
        case Split():
            return {Edge(name, f"variant {value}")}
        case _:
            return set()


def _ways_of(path: str, step: StepBase, outcome: Outcome) -> Iterator[str]:
    """Give the ways of a step that its record shows."""
    record = outcome.steps[path]
    codes = outcome.faults.get(path, [])
    if record.status is StepStatus.SKIPPED and not codes:
        return
    if record.status is not StepStatus.CANCELLED and not codes:
        yield "no error"
    for code in codes:
        yield from (way for route, way in _error_ways(step) if _leads(step, route, code))
    yield from (way for route, way in _error_ways(step) if _began(_fallback(step, route), outcome))
    if _began(step.compensate, outcome):
        yield "compensate"
    yield from _kind_ways_of(path, step, outcome)


def _kind_ways_of(path: str, step: StepBase, outcome: Outcome) -> Iterator[str]:
    match step:
        case Parallel():
            for branch in step.branches:
                if not branch.do or _began(branch.do, outcome):
                    yield f"branch {branch.name}"
        case ForEach():
            yield from _item_ways(path, step, outcome)
        case Repeat():
            yield from _iteration_ways(path, step, outcome)
        case Wait():
            yield "timeout" if path in outcome.timed_out else "came"
        case Approval():
            yield from _approval_ways(path, step, outcome)
        case SubRun():
            output = outcome.steps[path].output
            failed = isinstance(output, dict) and output.get("status") != "completed"
            yield "not completed" if failed or outcome.faults.get(path) else "completed"
        case _:
            return


def _began(steps: Sequence[StepBase], outcome: Outcome) -> bool:
    """True when one of these steps began."""
    begun = {step_id(path) for path in outcome.steps}
    return any(step.id in begun for step in steps)


def _fallback(step: StepBase, route: ErrorRoute | None) -> Sequence[StepBase]:
    """Give the steps of a way of an error; none where it is a word."""
    does = step.on_error if route is None else route.do
    return [one for one in does if isinstance(one, StepBase)] if isinstance(does, list) else []


def _leads(step: StepBase, route: ErrorRoute | None, code: str) -> bool:
    """True when an error with this code goes this way: the first route that fits."""
    if route is None:
        return True
    routes = [each for each, _ in _error_ways(step) if each is not None]
    fits = [each for each in routes if each.codes is None or code in each.codes]
    return bool(fits) and fits[0] is route


def _iterations(path: str, outcome: Outcome) -> bool:
    return any(other.startswith(f"{path}[") for other in outcome.steps)


def _item_ways(path: str, step: ForEach, outcome: Outcome) -> Iterator[str]:
    record = outcome.steps[path]
    if _iterations(path, outcome) or record.output:
        yield "items"
    elif record.status is StepStatus.COMPLETED:
        yield "no items"
    if step.tolerate is not None and isinstance(record.output, list):
        states = [item.get("status") for item in record.output if isinstance(item, dict)]
        if any(state != "completed" for state in states):
            yield "failed items"


def _iteration_ways(path: str, step: Repeat, outcome: Outcome) -> Iterator[str]:
    record = outcome.steps[path]
    if _iterations(path, outcome):
        yield "iterations"
    elif record.status is StepStatus.COMPLETED:
        yield "no iteration"
    # The verdict after which there is no further iteration. The error itself may be gone: a
    # fallback that fails puts its own in its place.
    beyond = [(f"{path}[{step.max}].while", True), (f"{path}[{step.max - 1}].until", False)]
    if any((verdict.path, verdict.value) in beyond for verdict in outcome.verdicts):
        yield "max reached"


def _approval_ways(path: str, step: Approval, outcome: Outcome) -> Iterator[str]:
    record = outcome.steps[path]
    told = record.output.get("decision") if isinstance(record.output, dict) else None
    late = record.error is not None and record.error.code == ErrorCode.STEP_TIMEOUT
    if isinstance(step.on_timeout, list):
        late = late or _began(step.on_timeout, outcome)
    if late or told == "timed_out":
        yield "timeout"
    elif told in ("approved", "rejected"):
        yield str(told)
    else:
        # `output` of the step hides the decision: the last answer made it.
        yield from outcome.decisions.get(path, [])[-1:]
    if step.remind is not None and _began(step.remind.do, outcome):
        yield "remind"
    if step.escalate is not None and _began(step.escalate.do, outcome):
        yield "escalate"
