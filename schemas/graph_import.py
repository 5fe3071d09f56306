"""Turning the graph of a visual builder into a definition.

A node runs when an edge leads to it from a node that has run, and that has come to the edge's
condition. What every path reaches only through one edge of a condition (its edge dominator)
becomes part of that way; the rest stands beside it, with a guard where no edge may lead to it.
"""

import re
from collections.abc import Collection
from itertools import pairwise
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field

from schemas.bundle import dump_yaml
from schemas.definition import MAX_STEPS, DefinitionName
from schemas.errors import InputError, Problem
from schemas.graph_nodes import fields_of, kind_of
from schemas.graph_paths import DEFAULT, Edge, Label, Paths, Region, find_cycle
from schemas.rules import Rule, refused
from schemas.step_base import ID_PATTERN

_TRUE, _FALSE = ("true", "yes", "then"), ("false", "no", "else")
_RAN = "steps.{}.status == 'completed'"


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


NodeId = Annotated[str, BeforeValidator(_text), Field(min_length=1, max_length=200)]


class GraphNode(BaseModel):
    """One node; what builders keep beside it (its place, its colour) is ignored."""

    model_config = ConfigDict(extra="ignore")

    id: NodeId
    type: Annotated[str, Field(min_length=1, max_length=64)]
    label: Annotated[str, Field(max_length=200)] | None = None
    config: dict[str, Any] = Field(default_factory=dict, description="depends on the type")
    order: Annotated[float, Field(allow_inf_nan=False)] = Field(
        default=0, description="decides where the edges do not"
    )


class GraphEdge(BaseModel):
    """One edge; `condition` is the result of the node that it comes from."""

    model_config = ConfigDict(extra="ignore")

    from_: NodeId = Field(alias="from", validation_alias=AliasChoices("from", "source"))
    to: NodeId = Field(validation_alias=AliasChoices("to", "target"))
    condition: bool | int | Annotated[str, Field(max_length=200)] | None = Field(
        default=None, description="true, false, or a case of a switch"
    )


class VisualGraph(BaseModel):
    """A workflow as visual builders save it."""

    model_config = ConfigDict(extra="ignore")

    name: DefinitionName = "imported"
    title: Annotated[str, Field(max_length=200)] | None = None
    input: dict[str, Any] | None = Field(default=None, description="JSON Schema of the input")
    nodes: Annotated[list[GraphNode], Field(min_length=1, max_length=MAX_STEPS)]
    edges: Annotated[list[GraphEdge], Field(max_length=10 * MAX_STEPS)] = Field(
        default_factory=list
    )


class Converted(BaseModel):
    """The definition as YAML, and what is wrong: with nodes (`nodes[3].type`), and with itself."""

    name: str
    definition: str
    problems: list[Problem]
    steps: dict[str, str] = Field(description="the step's id by the node's")


def convert(graph: VisualGraph, actions: Collection[str]) -> Converted:
    """Turn a graph into a definition; `actions` are the names that steps may have as a type.

    Raises InputError for cycles, for edges that lead nowhere and for ids that stand twice.
    """
    return _Conversion(graph, actions).run()


class _Conversion:
    def __init__(self, graph: VisualGraph, actions: Collection[str]) -> None:
        self.graph = graph
        self.problems: list[Problem] = []
        self.fields: dict[str, dict[str, Any]] = {}
        self.ids: dict[str, str] = {}
        # Steps that no node has become: wrapped guards, and notes of which case was taken.
        self.guards: dict[str, str] = {}
        self.markers: dict[tuple[str, Label], str] = {}
        for index, node in enumerate(graph.nodes):
            if kind_of(node.type) is not None:
                fields, found = fields_of(node.type, node.config, f"nodes[{index}]", actions)
                self.fields[node.id] = fields
                self.problems += found
        self._refuse_broken()
        self._name_steps()
        edges = self._edges()
        order = {node.id: (node.order, index) for index, node in enumerate(graph.nodes)}
        binary = {name for name, fields in self.fields.items() if fields["type"] == "condition"}
        self.paths = Paths(list(self.fields), edges, order, binary)

    def run(self) -> Converted:
        if not self.fields:
            raise InputError("the graph has no node that is a step")
        steps = self._steps(None)
        data: dict[str, Any] = {"name": self.graph.name}
        if self.graph.title:
            data["title"] = self.graph.title
        if self.graph.input is not None:
            data["input"] = self.graph.input
        data["steps"] = steps
        return Converted(
            name=self.graph.name,
            definition=dump_yaml(data),
            problems=self.problems,
            steps=self.ids,
        )

    def _refuse_broken(self) -> None:
        known: set[str] = set()
        faults: list[Problem] = []
        for index, node in enumerate(self.graph.nodes):
            if node.id in known:
                message = f"the id {node.id!r} stands twice"
                faults.append(refused(Rule.DUPLICATE_ID, f"nodes[{index}].id", message))
            known.add(node.id)
        for index, edge in enumerate(self.graph.edges):
            for side, name in (("from", edge.from_), ("to", edge.to)):
                if name not in known:
                    message = f"there is no node {name!r}"
                    path = f"edges[{index}].{side}"
                    faults.append(refused(Rule.UNKNOWN_DEPENDENCY, path, message))
        if not faults:
            cycle = find_cycle([(edge.from_, edge.to) for edge in self.graph.edges])
            if cycle:
                message = f"the nodes wait for each other: {' -> '.join(cycle)}"
                hint = "a definition repeats steps with 'repeat' or 'for_each'"
                faults.append(refused(Rule.CYCLE, "edges", message, hint))
        if faults:
            first = faults[0]
            raise InputError(
                f"the graph cannot be read: {first.path}: {first.message}",
                hint=first.hint,
                problems=faults,
            )

    def _name_steps(self) -> None:
        for node in self.graph.nodes:
            if node.id in self.fields:
                kept = re.match(ID_PATTERN, node.id)
                self.ids[node.id] = node.id if kept else self._free(_slug(node.label or node.id))

    def _free(self, base: str) -> str:
        taken = {*self.ids.values(), *self.guards.values(), *self.markers.values()}
        # Ids that can be kept are: expressions name them.
        taken |= {name for name in self.fields if re.match(ID_PATTERN, name)}
        found, count = base, 2
        while found in taken:
            found, count = f"{base[:58]}_{count}", count + 1
        return found

    def _edges(self) -> list[Edge]:
        """Give the edges between steps: nodes that are none are passed through."""
        if not self.graph.edges:
            # Nothing but an order: one after the other.
            line = sorted(
                (node for node in self.graph.nodes if node.id in self.fields),
                key=lambda node: node.order,
            )
            return [Edge(a.id, None, b.id) for a, b in pairwise(line)]
        given: dict[str, list[tuple[str, Label]]] = {node.id: [] for node in self.graph.nodes}
        for index, edge in enumerate(self.graph.edges):
            given[edge.to].append((edge.from_, self._label(edge, index)))
        found: dict[Edge, None] = {}
        for node in self.fields:
            pending, seen = list(given[node]), set[tuple[str, Label]]()
            while pending:
                source, label = pending.pop(0)
                if (source, label) in seen:
                    continue
                seen.add((source, label))
                if source in self.fields:
                    found[Edge(source, label, node)] = None
                elif given[source]:
                    pending += given[source]
                else:
                    # From the start: it runs whatever else leads to it.
                    found[Edge("", None, node)] = None
        return list(found)

    def _label(self, edge: GraphEdge, index: int) -> Label:
        given = edge.condition
        kind = self.fields.get(edge.from_, {}).get("type")
        if given is None or kind is None:
            return None
        word = str(given).strip().lower()
        path = f"edges[{index}].condition"
        if kind == "condition":
            if word in _TRUE or word in _FALSE:
                return "true" if word in _TRUE else "false"
            message = f"a condition comes to true or false, not to {given!r}"
        elif kind == "switch":
            return DEFAULT if word in ("default", "else") else given
        else:
            message = f"a node of type {kind!r} comes to no result; the edge counts always"
        self.problems.append(refused(Rule.BAD_VALUE, path, message))
        return None

    def _steps(self, region: Region) -> list[dict[str, Any]]:
        """Give the step list of one way of a condition, or of the definition itself."""
        members = self.paths.members(region)
        built: list[dict[str, Any]] = []
        previous: str | None = None
        for name in members:
            step = self._step(name)
            needed = [self._unit(other) for other in self.paths.units_before(name)]
            if needed != ([previous] if previous else []):
                step = {"id": step["id"], "depends_on": needed, **step}
            previous = step["id"]
            built.append(step)
        return built

    def _step(self, name: str) -> dict[str, Any]:
        fields = dict(self.fields[name])
        kind = fields.pop("type")
        label = next(node.label for node in self.graph.nodes if node.id == name)
        step: dict[str, Any] = {"id": self.ids[name], "type": kind}
        if label:
            step["title"] = label
        guard = self._guard(name)
        if guard and kind != "condition":
            step["if"] = guard
        step |= fields
        if kind == "condition":
            for way, word in (("then", "true"), ("else", "false")):
                if inner := self._steps((name, word)):
                    step[way] = inner
        elif kind == "switch":
            step |= self._cases(name)
        if guard and kind == "condition":
            # Its `if` is the verdict already.
            return {"id": self._unit(name), "type": "condition", "if": guard, "then": [step]}
        return step

    def _unit(self, name: str) -> str:
        """Give the id under which others wait for a node: its own, or that of its guard."""
        if self.fields[name]["type"] != "condition" or not self.paths.may_stay_away(name):
            return self.ids[name]
        if name not in self.guards:
            self.guards[name] = self._free(f"{self.ids[name][:50]}_guard")
        return self.guards[name]

    def _guard(self, name: str) -> str | None:
        if not self.paths.may_stay_away(name):
            return None
        tests: list[str] = []
        for edge in self.paths.into(name):
            if edge.label is None:
                tests.append(_RAN.format(self.ids[edge.source]))
            elif self.fields[edge.source]["type"] == "condition":
                tests.append(f"steps.{self.ids[edge.source]}.output == {edge.label}")
            else:
                tests.append(_RAN.format(self._marker(edge.source, edge.label)))
        return " || ".join(dict.fromkeys(tests))

    def _marker(self, name: str, label: Label) -> str:
        """Give the id of the step that notes which case a switch has taken."""
        word = "default" if label == DEFAULT else _slug(str(label))
        key = (name, label)
        if key not in self.markers:
            self.markers[key] = self._free(f"{self.ids[name][:30]}_{word[:25]}")
        return self.markers[key]

    def _cases(self, name: str) -> dict[str, Any]:
        labels = self.paths.labels(name)
        cases: list[dict[str, Any]] = []
        default: list[dict[str, Any]] = []
        for label in labels:
            inner = self._steps((name, label))
            joins = [
                edge
                for edge in self.paths.out_of(name)
                if edge.label == label
                and self.paths.may_stay_away(edge.target)
                and self.paths.region(edge.target) != (name, label)
            ]
            if joins:
                marker = self._marker(name, label)
                # First in the list, and nobody waits for it.
                if inner and "depends_on" not in inner[0]:
                    inner[0] = {"id": inner[0]["id"], "depends_on": [], **inner[0]}
                inner = [{"id": marker, "type": "set", "vars": {marker: True}}, *inner]
            if label == DEFAULT:
                default = inner
            else:
                cases.append({"is": label, "do": inner})
        if not cases:
            index = next(i for i, node in enumerate(self.graph.nodes) if node.id == name)
            message = "no edge names a case of this switch"
            self.problems.append(refused(Rule.MISSING_PROPERTY, f"nodes[{index}]", message))
        return {"cases": cases, **({"default": default} if default else {})}


def _slug(text: str) -> str:
    found = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:58]
    if not found:
        return "step"
    return found if found[0].isalpha() else f"n{found}"
