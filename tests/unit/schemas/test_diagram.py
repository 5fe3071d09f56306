"""The graph of a definition, as Mermaid and as a drawing."""

from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from schemas.diagram import Diagram, diagram, mermaid
from schemas.drawing import svg
from schemas.validation import load_definition

FOLDER = Path(__file__).resolve().parents[3] / "examples"
SVG = "{http://www.w3.org/2000/svg}"
SOURCE = """
name: drawn
title: Drawn <here>
goal: {event: done, key: k}
on_failure: [{id: sorry, type: set, vars: {a: 1}}]
steps:
  - {id: ask, type: condition, if: 'input.a > "b"', then: [{id: off, type: stop}]}
  - {id: left, type: delay, for: 1h, depends_on: [ask]}
  - {id: right, type: delay, for: 2h, depends_on: [ask]}
  - {id: each, type: for_each, items: [1], depends_on: [left, right], do: [{id: body, type: delay, for: 1m}]}
  - id: hold
    type: delay
    for: 1d
    on_error: [{codes: [STEP_TIMEOUT], do: [{id: mend, type: set, vars: {a: 2}}]}]
    compensate: [{id: undo, type: set, vars: {a: 3}}]
"""  # noqa: E501


def drawn(source: str = SOURCE) -> Diagram:
    """Give the graph of a definition."""
    return diagram(load_definition(source, None))


def test_every_step_is_a_node_and_every_way_a_link() -> None:
    found = drawn()
    links = {(link.source, link.target, link.label, link.dotted, link.back) for link in found.links}
    assert [node.id for node in found.nodes] == [
        *("start", "ask", "off", "left", "right", "each", "body", "hold", "mend", "undo"),
        *("end", "on_failure", "sorry", "on_goal"),
    ]
    assert links == {
        ("start", "ask", "", False, False),
        ("ask", "off", "yes", False, False),
        ("ask", "left", "no", False, False),
        ("ask", "right", "no", False, False),
        ("left", "each", "", False, False),
        ("right", "each", "", False, False),
        ("each", "body", "each item", False, False),
        ("body", "each", "next", False, True),
        ("each", "hold", "done", False, False),
        ("hold", "mend", "STEP_TIMEOUT", True, False),
        ("hold", "undo", "undo", True, False),
        ("hold", "end", "", False, False),
        ("mend", "end", "", False, False),
        ("on_failure", "sorry", "", True, False),
        ("sorry", "end", "", False, False),
        ("on_goal", "end", "", False, False),
    }


def test_mermaid_holds_no_text_that_means_something_to_it() -> None:
    text = mermaid(drawn())
    assert text.startswith("flowchart TD\n")
    assert 'n_start(["Drawn &lt;here&gt;"])' in text
    assert 'n_ask{"ask<br/><small>input.a &gt; &quot;b&quot;</small>"}' in text
    assert '  n_hold -.->|"STEP_TIMEOUT"| n_mend' in text
    assert "  n_left --> n_each" in text


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_examples_are_drawn_without_overlaps(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    text = svg(drawn(source))
    assert text == svg(drawn(source))
    root = ElementTree.fromstring(text)
    titles = [title.text or "" for title in root.iter(f"{SVG}title")][1:]
    assert len(titles) == len(drawn(source).nodes)
    boxes = [(float(box.get("x", 0)), float(box.get("y", 0))) for box in root.iter(f"{SVG}rect")]
    boxes += [
        (float(corner.partition(",")[0]), float(top.partition(",")[2]))
        for shape in root.iter(f"{SVG}polygon")
        for corner, top in [shape.get("points", "").split()[:2]]
    ]
    rows: dict[float, list[float]] = {}
    for x, y in boxes:
        rows.setdefault(y, []).append(x)
    for row in rows.values():
        assert all(right - left >= 200 for left, right in pairwise(sorted(row)))
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    assert all(0 <= x <= width - 200 and 0 <= y <= height - 44 for x, y in boxes)
