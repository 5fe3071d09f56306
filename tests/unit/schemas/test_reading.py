"""What a list of steps reads: every field that holds CEL, and every text with {{ }}."""

import inspect
from typing import Any, get_args, get_type_hints

from pydantic import BaseModel

from schemas import definition, step_base, steps, steps_flow, steps_wait
from schemas.document import parse_document
from schemas.reading import CEL_FIELDS, read_by
from schemas.steps_flow import ForEach

LOOP = """
id: each
type: for_each
items: []
do:
  - {id: a, type: condition, if: input.a > 1, then: [{id: b, type: set, vars: {x: "{{ vars.b }}"}}]}
  - {id: c, type: repeat, until: steps.c1.output, max: 2, do: [{id: c2, type: stop}]}
  - {id: d, type: switch, on: item.d, cases: [{is: "{{ input.e }}", do: []}]}
  - {id: f, type: wait, event: x, key: "{{ lead.email }}", where: event.data == input.f}
  - id: g
    type: http
    with: {url: ["{{ run.id }}"]}
    on_error: [{id: h, type: fail, message: "{{ error.code }}"}]
"""


def test_every_reference_is_found() -> None:
    loop = ForEach.model_validate(parse_document(LOOP).data)
    found = {".".join(reference) for reference in read_by(loop.do)}
    assert {
        "input.a",
        "vars.b",
        "steps.c1.output",
        "item.d",
        "input.e",
        "lead.email",
        "event.data",
        "input.f",
        "run.id",
        "error.code",
    } <= found


def _holds_cel(hint: Any) -> bool:
    inside = [hint, *get_args(hint)]
    described = [getattr(one, "description", None) for part in inside for one in get_args(part)]
    return "a CEL expression" in described


def test_every_field_that_holds_cel_is_known() -> None:
    modules = (definition, step_base, steps, steps_flow, steps_wait)
    models = [
        model
        for module in modules
        for _, model in inspect.getmembers(module, inspect.isclass)
        if issubclass(model, BaseModel)
    ]
    names = {"Step": Any}
    found = {
        name
        for model in models
        for name, hint in get_type_hints(model, localns=names, include_extras=True).items()
        if _holds_cel(hint)
    }
    assert found == CEL_FIELDS
