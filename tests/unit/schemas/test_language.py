"""The exported JSON Schema accepts what the language accepts."""

from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from activities.registry import load
from schemas.document import parse_document
from schemas.language import DIALECT, language_schema
from schemas.validation import find_problems

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.yaml"))
CATALOGUE = load()
SCHEMA = language_schema(CATALOGUE)
VALIDATOR = jsonschema_rs.validator_for(SCHEMA)
SLEEP = "{id: z, type: delay, for: 1d}"
# One step of each kind with all its fields.
KINDS = {
    "condition": f"if: run.version > 1, then: [{SLEEP}], else: [{SLEEP.replace('z', 'y')}]",
    "check": "type: condition, check: reply_received, with: {since: '{{ run.started_at }}'}",
    "switch": f"on: run.version, cases: [{{is: 1, do: [{SLEEP}]}}, {{if: run.id == 'x', do: []}}], "
    "default: []",
    "split": f"key: '{{{{ run.id }}}}', holdout: 10, "
    f"variants: [{{name: v, weight: 2, do: [{SLEEP}]}}]",
    "parallel": f"branches: [{{name: b, do: [{SLEEP}]}}], join: any, on_branch_error: continue",
    "parallel-n": f"type: parallel, branches: [{{name: b, do: [{SLEEP}]}}], join: 1",
    "for_each": f"items: [1], as: n, concurrency: 5, batch: 50, tolerate: 5%, do: [{SLEEP}]",
    "repeat": f"until: index > 3, max: 9, every: 1h, do: [{SLEEP}]",
    "delay": "for: 1d, window: {days: [mon, fri], from: '08:00', to: '18:00', "
    "timezone: Europe/Berlin}",
    "wait": f"event: e, key: k, where: event.data.n > 1, timeout: 1d, on_timeout: [{SLEEP}]",
    "wait-any": "type: wait, any: [{signal: s}, {event: e, key: k}], timeout: 1d",
    "approval": f"assignees: [ada], description: why, form: {{type: object}}, approvals: 1, "
    f"timeout: 1d, on_timeout: continue, remind: {{every: 1h, max: 3, do: [{SLEEP}]}}, "
    "escalate: {after: 12h, to: [bob], do: []}",
    "workflow": "definition: other, version: 2, input: {x: 1}, mode: wait, depends: conditional",
    "set": "vars: {x: 1}",
    "fail": "code: NO, message: no",
    "stop": "output: 1",
    "email": "with: {to: a@example.com, subject: s, text: t}, timeout: 5s, execution: inline, "
    "retry: {attempts: 2, only: [TIMEOUT]}",
}
EVERY = (
    f"title: t, depends_on: [], compensate: [{SLEEP.replace('z', 'u')}], savepoint: false, "
    f"on_error: [{{codes: [TIMEOUT], do: [{SLEEP.replace('z', 'e')}]}}, {{do: continue}}]"
)


def definition(kind: str, more: str = "") -> str:
    fields = KINDS[kind]
    named = fields if fields.startswith("type:") else f"type: {kind}, {fields}"
    return f"name: a\nsteps: [{{id: a, {named}{more}}}]"


def faults(text: str) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(parse_document(text).data)]


def test_the_schema_is_a_schema() -> None:
    jsonschema_rs.meta.validate(SCHEMA)
    assert SCHEMA["$schema"] == DIALECT


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_valid_for_the_checks_and_for_editors(path: Path) -> None:
    text = path.read_text()
    assert find_problems(text, CATALOGUE) == []
    assert faults(text) == []


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_valid_with_all_its_fields(kind: str) -> None:
    every = "" if kind == "fail" else f", {EVERY}"
    text = definition(kind, every)
    assert find_problems(text, CATALOGUE) == []
    assert faults(text) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_slip_in_any_kind_is_refused(kind: str) -> None:
    for slip in (", titel: t", ", compensates: []", ", on_error: stop", ", depends_on: b"):
        text = definition(kind, slip)
        assert any(one.severity == "error" for one in find_problems(text, CATALOGUE)), slip
        assert faults(text), slip


@pytest.mark.parametrize(
    "step",
    [
        "{id: a, type: nosuch}",
        "{id: a, type: email, with: {toes: x}}",
        "{id: a, type: delay, for: 3 days}",
        "{id: a, type: delay, window: {form: '08:00'}}",
        "{id: a, type: delay, window: {days: [monday]}}",
        "{id: a, type: stop, extra: 1}",
        "{id: a, type: split, variants: [{nme: v, do: []}]}",
        "{id: a, type: split, variants: [{name: v, do: [{id: b, type: nosuch}]}]}",
        "{id: a, type: wait, any: [{signl: s}]}",
        "{id: a, type: approval, assignees: [x], remind: {evry: 1h, do: []}}",
        "{id: a, type: email, with: {}, on_error: [{cods: [X], do: fail}]}",
        "{id: a, type: repeat, until: 'true', max: 10001, do: []}",
    ],
)
def test_the_schema_refuses_what_the_checks_refuse(step: str) -> None:
    text = f"name: a\nsteps: [{step}]"
    assert find_problems(text, CATALOGUE)
    assert faults(text)


def test_every_field_is_described_for_editors() -> None:
    models: dict[str, Any] = {"Definition": SCHEMA, **SCHEMA["$defs"]}
    bare = [
        f"{name}.{field}"
        for name, model in models.items()
        if not name.startswith("action.")
        for field, schema in model.get("properties", {}).items()
        if "description" not in schema
    ]
    assert bare == []
