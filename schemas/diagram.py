"""A definition as a graph of nodes and links, for people to look at; and that graph as Mermaid."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from schemas.definition import Definition
from schemas.durations import format_duration
from schemas.graph import dependencies
from schemas.step_base import ErrorRoute, StepBase
from schemas.steps import (
    Agent,
    Approval,
    Condition,
    Delay,
    Fail,
    ForEach,
    Parallel,
    Repeat,
    Split,
    Step,
    Stop,
    SubRun,
    Switch,
    Wait,
)
from schemas.steps_flow import HOLDOUT

START, END = "start", "end"
_SHOWN = 60
# Mermaid's brackets for each shape.
_BRACKETS = {
    "terminal": ("([", "])"),
    "action": ("[", "]"),
    "choice": ("{", "}"),
    "wait": ("(", ")"),
    "loop": ("{{", "}}"),
    "fork": ("[/", "/]"),
}


@dataclass(frozen=True)
class Node:
    """One step, or a beginning or an end; `detail` is what it does in a few words."""

    id: str
    shape: str
    title: str
    detail: str = ""


@dataclass(frozen=True)
class Link:
    """A way from one node to another; `dotted` for recovery, `back` where a loop returns."""

    source: str
    target: str
    label: str = ""
    dotted: bool = False
    back: bool = False


@dataclass
class Diagram:
    """Nodes in the order of the definition's text, and the links between them."""

    name: str
    nodes: list[Node] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)


# Where the next step is joined on: a node, and what the link says.
_Exit = tuple[str, str]


def diagram(definition: Definition) -> Diagram:
    """Give the graph of a definition; the same definition always gives the same graph."""
    builder = _Builder(Diagram(definition.name))
    builder.node(Node(START, "terminal", definition.title or definition.name))
    exits = builder.steps(definition.steps, [(START, "")])
    builder.node(Node(END, "terminal", "end"))
    builder.join(exits, END)
    for name, title, steps in (
        ("on_failure", "the run fails", definition.on_failure),
        ("on_goal", _goal(definition), definition.on_goal),
    ):
        if steps or (name == "on_goal" and definition.goal is not None):
            builder.node(Node(name, "terminal", title))
            builder.join(builder.steps(steps, [(name, "")], dotted=True), END)
    return builder.found


def _goal(definition: Definition) -> str:
    return f"goal: {definition.goal.event}" if definition.goal is not None else ""


class _Builder:
    def __init__(self, found: Diagram) -> None:
        self.found = found

    def node(self, node: Node) -> None:
        self.found.nodes.append(node)

    def join(self, exits: Sequence[_Exit], target: str, *, dotted: bool = False) -> None:
        for source, label in exits:
            self.found.links.append(Link(source, target, label, dotted))

    def steps(
        self, steps: Sequence[Step], entries: list[_Exit], *, dotted: bool = False
    ) -> list[_Exit]:
        """Add a step list; gives what its end is joined on by."""
        if not steps:
            return entries
        waits_for = dependencies(steps)
        exits: dict[str, list[_Exit]] = {}
        for step in steps:
            before = waits_for[step.id]
            into = [each for name in before for each in exits.get(name, [])] or (
                [] if before else entries
            )
            exits[step.id] = self.step(step, into, dotted=dotted)
        needed = {name for names in waits_for.values() for name in names}
        return [each for step in steps if step.id not in needed for each in exits[step.id]]

    def step(self, step: Step, entries: list[_Exit], *, dotted: bool) -> list[_Exit]:
        self.node(Node(step.id, _shape(step), step.title or step.id, _detail(step)))
        self.join(entries, step.id, dotted=dotted)
        exits = self.inside(step)
        for label, nested in _recoveries(step):
            exits += self.steps(nested, [(step.id, label)], dotted=True)
        if step.compensate:
            # What undoes a step leads nowhere: the run is at its end.
            self.steps(step.compensate, [(step.id, "undo")], dotted=True)
        return exits

    def inside(self, step: Step) -> list[_Exit]:
        match step:
            case Condition() | Switch() | Split() | Parallel():
                ways = _ways(step)
                return [
                    each
                    for label, nested in ways
                    for each in self.steps(nested, [(step.id, label)])
                ]
            case ForEach() | Repeat():
                for source, label in self.steps(step.do, [(step.id, _body(step))]):
                    self.found.links.append(Link(source, step.id, label or "next", back=True))
                return [(step.id, "done")]
            case Wait() | Approval():
                return self.waiting(step)
            case Agent():
                for tool in step.tools:
                    self.steps(tool.do, [(step.id, f"tool {tool.name}")], dotted=True)
                return [(step.id, "")]
            case Stop() | Fail():
                return []
            case _:
                return [(step.id, "")]

    def waiting(self, step: Wait | Approval) -> list[_Exit]:
        exits: list[_Exit] = [(step.id, "")]
        if isinstance(step.on_timeout, list):
            exits += self.steps(step.on_timeout, [(step.id, f"after {_time(step)}")])
        if isinstance(step, Approval) and step.remind is not None:
            every = format_duration(step.remind.every)
            self.steps(step.remind.do, [(step.id, f"every {every}")], dotted=True)
        if isinstance(step, Approval) and step.escalate is not None:
            after = format_duration(step.escalate.after)
            self.steps(step.escalate.do, [(step.id, f"escalate after {after}")], dotted=True)
        return exits


def _time(step: Wait | Approval) -> str:
    return format_duration(step.timeout) if step.timeout else "ever"


def _ways(step: Condition | Switch | Split | Parallel) -> list[tuple[str, list[Step]]]:
    match step:
        case Condition():
            return [("yes", step.then), ("no", step.else_)]
        case Switch():
            cases = [
                (case.if_ if case.if_ is not None else str(case.is_), case.do)
                for case in step.cases
            ]
            return [*cases, ("else", step.default)]
        case Split():
            held: list[tuple[str, list[Step]]] = [(HOLDOUT, [])] if step.holdout else []
            return [*((variant.name, variant.do) for variant in step.variants), *held]
        case Parallel():
            return [(branch.name, branch.do) for branch in step.branches]


def _recoveries(step: StepBase) -> list[tuple[str, list[Step]]]:
    if not isinstance(step.on_error, list):
        return []
    routes = [route for route in step.on_error if isinstance(route, ErrorRoute)]
    if routes:
        return [
            (" ".join(route.codes) if route.codes else "on error", route.do)
            for route in routes
            if isinstance(route.do, list)
        ]
    return [("on error", [one for one in step.on_error if not isinstance(one, ErrorRoute)])]


def _body(step: ForEach | Repeat) -> str:
    return f"each {step.as_}" if isinstance(step, ForEach) else "again"


def _shape(step: StepBase) -> str:
    shapes: list[tuple[type[StepBase] | tuple[type[StepBase], ...], str]] = [
        ((Condition, Switch, Split), "choice"),
        ((Delay, Wait, Approval), "wait"),
        ((ForEach, Repeat), "loop"),
        (Parallel, "fork"),
        ((Stop, Fail), "terminal"),
    ]
    return next((shape for kinds, shape in shapes if isinstance(step, kinds)), "action")


def _detail(step: Step) -> str:
    """Say in a few words what a step does."""
    guard = f"if {step.if_}: " if step.if_ and not isinstance(step, Condition) else ""
    return _short(" ".join(f"{guard}{_told(step)}".split()))


def _told(step: Step) -> str:
    match step:
        case Condition():
            return step.if_ or step.check or ""
        case Switch():
            return f"switch {step.on or ''}"
        case Split():
            return f"split by {step.key}"
        case Parallel():
            return f"parallel, join {step.join}"
        case ForEach():
            return f"for each, {step.concurrency} at once"
        case Repeat():
            return f"while {step.while_}" if step.while_ else f"until {step.until}"
        case _:
            return _plain_told(step)


def _plain_told(step: Step) -> str:
    match step:
        case Delay():
            if step.for_ is not None:
                return f"delay {format_duration(step.for_)}"
            return f"until {step.until}" if step.until else "until the window opens"
        case Wait():
            names = [str(source.signal or source.event) for source in step.sources()]
            return "wait for " + (" and " if step.all else " or ").join(names)
        case SubRun():
            return f"run {step.definition}"
        case Fail():
            return f"fail {step.code}"
        case _:
            return str(step.type)


def mermaid(found: Diagram) -> str:
    """Give a graph as a Mermaid flowchart."""
    lines = ["flowchart TD"]
    for node in found.nodes:
        left, right = _BRACKETS[node.shape]
        text = _quoted(node.title)
        if node.detail and node.detail != node.title:
            text += f"<br/><small>{_quoted(node.detail)}</small>"
        lines.append(f'  {_name(node.id)}{left}"{text}"{right}')
    for link in found.links:
        arrow = "-.->" if link.dotted else "-->"
        label = f'|"{_quoted(_short(link.label))}"|' if link.label else ""
        lines.append(f"  {_name(link.source)} {arrow}{label} {_name(link.target)}")
    return "\n".join(lines) + "\n"


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _name(node: str) -> str:
    # `end` and some other words mean something to Mermaid.
    return f"n_{node}"


def _quoted(text: str) -> str:
    for char, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(char, entity)
    return text.replace("#", "#35;").replace("\n", " ")
