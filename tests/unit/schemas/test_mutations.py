"""Definitions with something broken anywhere: the checks answer, and never fail themselves."""

import copy
from pathlib import Path
from random import Random
from typing import Any

from activities.registry import load
from schemas.document import parse_document
from schemas.validation import check

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.yaml"))
JUNK: list[Any] = [
    None, 0, -1, 1.5, True, "", "x", "{{ steps.x.output.y }}", "{{ input.", "steps.a.output.b > 1",
    [], [[]], [None], {}, {"id": "z"}, {"id": "z", "type": "stop"}, [{"id": "z", "type": "wait"}],
    [{"do": []}], [{"codes": 5}], "2d", "Europe/Nowhere", "10%", {"every": 1}, [{"name": "q"}],
]  # fmt: skip


def places(value: Any) -> list[tuple[Any, Any]]:
    """Give every container with each of its keys."""
    items: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    return [(value, key) for key, _ in items] + [
        place for _, inner in items for place in places(inner)
    ]


def test_whatever_is_broken_the_checks_answer() -> None:
    random = Random(4)
    catalogue = load()
    originals = [parse_document(path.read_text()).data for path in EXAMPLES]
    refused = 0
    for _ in range(400):
        data = copy.deepcopy(random.choice(originals))
        for _ in range(random.randint(1, 3)):
            holder, key = random.choice(places(data))
            if random.random() < 0.3 and isinstance(holder, dict):
                holder[f"{key}s"] = holder.pop(key)
            else:
                holder[key] = copy.deepcopy(random.choice(JUNK))
        checked = check(data, catalogue)
        assert (checked.definition is None) == bool(checked.errors)
        assert all(one.rule and one.message for one in checked.problems)
        refused += bool(checked.errors)
    assert refused > 200
