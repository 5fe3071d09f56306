"""Graphs of visual builders: what runs in the graph runs in the definition, and in its order."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activities.registry import load
from schemas import expressions
from schemas.definition import Definition
from schemas.document import parse_document
from schemas.errors import InputError, LimitError
from schemas.graph import dependencies
from schemas.graph_import import Converted, VisualGraph, convert
from schemas.steps import Step
from schemas.steps_flow import Condition, Switch
from schemas.validation import check

ACTIONS = load().specs()
DOC = (Path(__file__).parents[3] / "docs" / "bundles.md").read_text()
CASES = ["red", "green", "default"]


def converted(nodes: list[dict[str, Any]], edges: list[dict[str, Any]] | None = None) -> Converted:
    graph = {"name": "drawn", "nodes": nodes, "edges": edges or []}
    return convert(VisualGraph.model_validate(graph), ACTIONS)


def steps_of(found: Converted) -> Any:
    return parse_document(found.definition).data["steps"]


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, Any]]:
    """Nodes, edges and an input that decides every condition."""
    count = draw(st.integers(1, 11))
    nodes: list[dict[str, Any]] = []
    given: dict[str, Any] = {}
    for index in range(count):
        kind = draw(st.sampled_from(["set", "set", "condition", "condition", "switch"]))
        config: dict[str, Any] = {"vars": {f"v{index}": index}}
        if kind == "condition":
            config = {"if": f"input.x{index}"}
            given[f"x{index}"] = draw(st.booleans())
        elif kind == "switch":
            config = {"on": f"input.x{index}"}
            given[f"x{index}"] = draw(st.sampled_from(["red", "green", "blue"]))
        nodes.append(
            {"id": f"n{index}", "type": kind, "config": config, "order": draw(st.integers(0, 3))}
        )
    edges: list[dict[str, Any]] = []
    for target in range(1, count):
        for source in draw(st.sets(st.integers(0, target - 1), max_size=3)):
            kind = nodes[source]["type"]
            words: list[Any] = {
                "set": [None],
                "condition": [True, False, None],
                "switch": [*CASES, None],
            }[kind]
            for word in draw(st.sets(st.sampled_from(words), min_size=1, max_size=2)):
                edges.append({"from": f"n{source}", "to": f"n{target}", "condition": word})
    return nodes, draw(st.permutations(edges)), given


def taken_in_the_graph(nodes: Any, edges: Any, given: dict[str, Any]) -> set[str]:
    """The nodes that run, by the rule of the graph."""
    ran: set[str] = set()
    for node in nodes:
        coming = [edge for edge in edges if edge["to"] == node["id"]]
        if not coming or any(edge["from"] in ran and _fits(edge, edges, given) for edge in coming):
            ran.add(node["id"])
    return ran


def _fits(edge: dict[str, Any], edges: Any, given: dict[str, Any]) -> bool:
    word = edge["condition"]
    value = given.get(edge["from"].replace("n", "x"))
    if word == "default":
        named = {one["condition"] for one in edges if one["from"] == edge["from"]}
        return value not in named
    return word is None or word == value


class Player:
    """Runs a definition of `set`, `condition` and `switch` steps in one line."""

    def __init__(self, definition: Definition, given: dict[str, Any]) -> None:
        self.names: dict[str, Any] = {"input": given, "vars": {}}
        blank = {"output": None, "status": None, "error": None}
        self.names["steps"] = {step: dict(blank) for step in definition.by_id()}
        self.done: list[str] = []
        self.play(definition.steps)

    def play(self, steps: list[Step]) -> None:
        seen: set[str] = set()
        needed = dependencies(steps)
        for step in steps:
            assert set(needed[step.id]) <= seen, "the list is in an order that can run"
            seen.add(step.id)
            self.one(step)

    def one(self, step: Step) -> None:
        state = self.names["steps"][step.id]
        verdict = None if step.if_ is None else expressions.evaluate(step.if_, self.names)
        if isinstance(step, Condition):
            self.done.append(step.id)
            self.play(step.then if verdict else step.else_)
            state["output"] = verdict
        elif verdict is False:
            state["status"] = "skipped"
            return
        else:
            self.done.append(step.id)
        if isinstance(step, Switch):
            assert step.on is not None
            value = expressions.evaluate(step.on, self.names)
            self.play(next((case.do for case in step.cases if case.is_ == value), step.default))
        state["status"] = "completed"


@settings(max_examples=100, deadline=None)
@given(graphs())
def test_the_same_steps_run_in_an_order_that_fits(
    drawn: tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, Any]],
) -> None:
    nodes, edges, given = drawn
    if not edges:
        edges = [{"from": "n0", "to": f"n{index}"} for index in range(1, len(nodes))]
        edges = [{**edge, "condition": None} for edge in edges]
    found = converted(nodes, edges)
    data = parse_document(found.definition).data
    bare = {
        f"nodes[{index}]"
        for index, node in enumerate(nodes)
        if node["type"] == "switch"
        and not {"red", "green"} & {e["condition"] for e in edges if e["from"] == node["id"]}
    }
    assert {problem.path for problem in found.problems} == bare
    if bare:
        return
    definition = Definition.model_validate(data)
    played = Player(definition, given).done
    back = {step: node for node, step in found.steps.items()}
    ran = [back[step] for step in played if step in back]
    assert len(ran) == len(set(ran))
    expected = taken_in_the_graph(nodes, edges, given)
    assert set(ran) == expected
    for edge in edges:
        if {edge["from"], edge["to"]} <= expected:
            assert ran.index(edge["from"]) < ran.index(edge["to"])
    schema = {
        name: {"type": "boolean" if isinstance(v, bool) else "string"} for name, v in given.items()
    }
    data["input"] = {"type": "object", "required": list(schema), "properties": schema}
    assert check(data, load()).errors == []


def test_the_example_of_the_document() -> None:
    [text] = [one for one in re.findall(r"```json\n(.*?)```", DOC, re.DOTALL) if '"nodes"' in one]
    found = convert(VisualGraph.model_validate(json.loads(text)), ACTIONS)
    assert found.problems == []
    assert found.steps == {"2": "budget", "3": "welcome", "4": "think", "5": "give_up"}
    budget = {
        "id": "budget",
        "type": "condition",
        "title": "Budget?",
        "if": "input.budget >= 2000",
        "then": [
            {
                "id": "welcome",
                "type": "email",
                "title": "Welcome",
                "with": {"to": "{{ input.email }}", "subject": "Welcome", "text": "Hello."},
            },
            {"id": "think", "type": "delay", "title": "Think", "for": "3d"},
        ],
        "else": [
            {"id": "give_up", "type": "lead", "title": "Give up", "with": {"status": "failed"}}
        ],
    }
    assert steps_of(found) == [budget]
    assert check(found.definition, load()).errors == []


def test_what_both_ways_reach_stands_after_the_condition_and_what_waits_joins() -> None:
    found = converted(
        [{"id": name, "type": "stop" if name == "z" else "emit"} for name in "abz"]
        + [{"id": "ask", "type": "if", "config": {"if": "true"}}],
        [
            {"source": "ask", "target": "a", "condition": "yes"},
            {"source": "ask", "target": "z", "condition": "no"},
            {"source": "a", "target": "z"},
            {"source": "b", "target": "z"},
        ],
    )
    steps = steps_of(found)
    assert [step["id"] for step in steps] == ["b", "ask", "z"]
    assert [step.get("depends_on") for step in steps] == [None, [], ["b", "ask"]]
    assert "if" not in steps[2]


def test_without_edges_the_order_decides() -> None:
    nodes = [{"id": name, "type": "stop", "order": order} for name, order in (("b", 2), ("a", 1))]
    assert [step["id"] for step in steps_of(converted(nodes))] == ["a", "b"]


@pytest.mark.parametrize(
    ("node", "step"),
    [
        (
            {"type": "Send Email", "config": {"recipient": "a@b.c", "body": "Hi"}},
            {"type": "email", "with": {"to": "a@b.c", "text": "Hi"}},
        ),
        (
            {"type": "http-request", "config": {"url": "https://a.b", "body": {"a": 1}}},
            {"type": "http", "with": {"url": "https://a.b", "json": {"a": 1}}},
        ),
        ({"type": "llm", "config": {"prompt": "Hi"}}, {"type": "ai", "with": {"prompt": "Hi"}}),
        ({"type": "wait", "config": {"days": 1, "hours": 2}}, {"type": "delay", "for": "1d2h"}),
        (
            {"type": "delay", "config": {"amount": 5, "unit": "minute"}},
            {"type": "delay", "for": "5m"},
        ),
        (
            {"type": "wait", "config": {"signal": "go", "timeout": "1d"}},
            {"type": "wait", "signal": "go", "timeout": "1d"},
        ),
        (
            {"type": "if", "config": {"field": "budget", "operator": "at least", "value": 5}},
            {"type": "condition", "if": "input.budget >= 5"},
        ),
        (
            {
                "type": "decision",
                "config": {"field": "steps.a.output", "operator": "contains", "value": "x"},
            },
            {"type": "condition", "if": 'steps.a.output.contains("x")'},
        ),
        (
            {"type": "condition", "config": {"check": "reply_received"}},
            {"type": "condition", "check": "reply_received"},
        ),
        ({"type": "set", "config": {"a": 1}}, {"type": "set", "vars": {"a": 1}}),
        (
            {"type": "email", "config": {"with": {"to": "a@b.c"}, "timeout": "5s"}},
            {"type": "email", "with": {"to": "a@b.c"}, "timeout": "5s"},
        ),
    ],
)
def test_nodes_by_their_types(node: dict[str, Any], step: dict[str, Any]) -> None:
    found = converted([{"id": "a", **node}])
    assert (found.problems, steps_of(found)) == ([], [{"id": "a", **step}])


@pytest.mark.parametrize(
    ("node", "path", "hint"),
    [
        ({"type": "emial"}, "nodes[0].type", "email"),
        ({"type": "condition"}, "nodes[0].config", "CEL"),
        (
            {"type": "if", "config": {"field": "a", "operator": "equal", "value": 1}},
            "nodes[0].config.operator",
            "eq",
        ),
        (
            {"type": "if", "config": {"field": "a b", "operator": "eq"}},
            "nodes[0].config.field",
            None,
        ),
        ({"type": "delay", "config": {"for": "soon"}}, "nodes[0].config", None),
        ({"type": "delay"}, "nodes[0].config", None),
        ({"type": "for_each", "config": {"items": []}}, "nodes[0].type", "definition"),
    ],
)
def test_what_is_wrong_with_a_node_is_told_at_its_path(
    node: dict[str, Any], path: str, hint: str | None
) -> None:
    [problem] = converted([{"id": "a", **node}]).problems
    assert problem.path == path
    assert hint is None or hint in (problem.hint or "")


def test_graphs_that_hold_together_in_no_way() -> None:
    nodes = [{"id": name, "type": "stop"} for name in "abc"]
    ring = [{"from": a, "to": b} for a, b in ("ab", "bc", "cb")]
    with pytest.raises(InputError, match="b -> c -> b"):
        converted(nodes, ring)
    with pytest.raises(InputError, match="no node 'd'"):
        converted(nodes, [{"from": "a", "to": "d"}])
    with pytest.raises(InputError, match="stands twice"):
        converted([*nodes, nodes[0]])
    with pytest.raises(InputError, match="no node that is a step"):
        converted([{"id": "a", "type": "form_trigger"}])
    many = [{"id": f"n{i}", "type": "if", "config": {"if": "true"}} for i in range(20)]
    deep = [{"from": f"n{i}", "to": f"n{i + 1}", "condition": True} for i in range(19)]
    with pytest.raises(LimitError, match="16"):
        converted(many, deep)


def test_a_wide_graph_is_read_in_bounds() -> None:
    """Forty conditions that all meet: too many ways to look at, so the guard is written."""
    nodes: list[dict[str, Any]] = [{"id": "end_of_all", "type": "stop"}]
    edges: list[dict[str, Any]] = []
    for index in range(40):
        nodes.append({"id": f"c{index}", "type": "if", "config": {"if": "true"}})
        edges.append({"from": f"c{index}", "to": "end_of_all", "condition": True})
    assert steps_of(converted(nodes, edges))[-1]["if"].count("||") == 39
