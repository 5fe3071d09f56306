"""Agents in test files, in the checks of a publish, and in the documents about them."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from activities.registry import load
from schemas.diagram import diagram
from schemas.errors import InputError
from schemas.validation import find_problems, load_definition
from testing.agents import turn_of
from testing.bench import Bench
from testing.cases import Case
from testing.judging import judge

REGISTRY = load()
DOCS = Path(__file__).resolve().parents[2] / "docs"
AGENT = """
name: a
input: {type: object, properties: {q: {type: string}}}
steps:
  - id: helper
    type: agent
    with: {model: "openai:x", prompt: "{{ input.q }}", output: {type: object, required: [score], properties: {score: {type: integer}}}}
    tools:
      - name: search
        description: Looks it up
        parameters: {type: object, required: [term], properties: {term: {type: string}}}
        do: [{id: search, type: http, with: {url: "https://x.example/?q={{ args.term }}"}}]
  - {id: after, type: set, vars: {a: "{{ steps.helper.output.output.score + 1 }}"}}
"""  # noqa: E501


def blocks(name: str) -> list[dict[str, Any]]:
    """Give the definitions that a document shows."""
    text = (DOCS / name).read_text(encoding="utf-8")
    found = [yaml.safe_load(one) for one in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    return [one for one in found if isinstance(one, dict) and "steps" in one]


@pytest.mark.parametrize("name", ["agents.md", "code.md"])
def test_documents_show_valid_definitions(name: str) -> None:
    shown = blocks(name)
    assert shown
    for definition in shown:
        assert find_problems(definition, REGISTRY) == []


@pytest.mark.parametrize(
    ("right", "wrong", "path", "said"),
    [
        ("args.term", "args.trm", "steps[0].tools[0].do[0].with.url", "unknown field"),
        ("type: http", "type: htp", "steps[0].tools[0].do[0].type", "not known"),
        ("name: search", "name: final_result", "steps[0].tools[0]", "name of the answer"),
        ("prompt:", "promt:", "steps[0].with.promt", "not known"),
        ("{type: integer}", "{type: 7}", "steps[0].with.output", "not a valid JSON Schema"),
        ("string}}}\n        do", "7}}}\n        do", "steps[0].tools[0].parameters", "JSON"),
        ("output.score", "output.scre", "steps[1].vars.a", "unknown field"),
        ("id: after", "id: search", "steps[1].id", "is taken"),
        ("steps.helper.output", "steps.search.output", "steps[1].vars.a", "cannot have run"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_agent_is_told(right: str, wrong: str, path: str, said: str) -> None:
    assert find_problems(AGENT, REGISTRY) == []
    assert right in AGENT
    found = find_problems(AGENT.replace(right, wrong, 1), REGISTRY)
    assert any(one.path == path and said in one.message for one in found), found


def test_an_agent_is_drawn_with_its_tools() -> None:
    labels = [link.label for link in diagram(load_definition(AGENT, REGISTRY)).links]
    assert "tool search" in labels


async def test_a_case_says_each_turn() -> None:
    definition = load_definition(blocks("agents.md")[0], REGISTRY)
    given = Case.model_validate(
        {
            "name": "refunded",
            "input": {"question": "Where is it?", "email": "ada@example.com"},
            "mocks": {
                "helper": [
                    {
                        "result": {
                            "calls": [{"order": {"number": "17"}}, {"order": {"number": "x"}}]
                        }
                    },
                    {"result": {"calls": [{"refund": {"number": "17", "amount": 5}}]}},
                    {"result": {"output": {"answer": "Refunded."}}},
                ],
                "order": {"body": {"status": "lost"}},
                "refund": {"body": None},
            },
            "answers": [
                {"at": "3d", "step": "helper[4].agreed", "decision": "approved", "by": "ada"}
            ],
            "expect": {"output": {"answer": "Refunded."}, "min_virtual_time": "3d"},
        }
    )
    async with Bench.open(REGISTRY) as bench:
        outcome = judge(await bench.run(definition, given), given)
    assert outcome.ok, outcome.failures


def test_a_mock_of_another_form_is_refused() -> None:
    with pytest.raises(InputError):
        turn_of({"messages": [], "question": {}}, {"calls": ["order"]})
