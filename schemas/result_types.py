"""The types of step outputs, from the kinds of steps and what is inside them."""

from collections.abc import Mapping
from typing import Any

from schemas import cel
from schemas.actions import ActionSpec
from schemas.cel.types import join
from schemas.inputs import find_schema_fault
from schemas.scopes import has_fallback
from schemas.step_base import StepBase
from schemas.steps import (
    ActionStep,
    Agent,
    Approval,
    Condition,
    Delay,
    ForEach,
    Parallel,
    Repeat,
    SetVars,
    Split,
    SubRun,
    Switch,
    Wait,
)

_SUB_RUN = cel.object_type({"run_id": cel.STRING})
_SUB_RUN_END = cel.object_type(
    {"run_id": cel.STRING, "status": cel.STRING, "output": cel.DYN, "error": cel.DYN}
)
_ANY_OF = cel.object_type({"index": cel.INT, "source": cel.DYN, "data": cel.DYN})


def schema_type(schema: dict[str, Any]) -> cel.Type:
    """Give the type of the objects that an author's JSON Schema admits, any for a bad schema."""
    if find_schema_fault(schema) is not None:
        return cel.map_of(cel.DYN)
    return cel.type_from_json_schema({"type": "object", **schema})


def last_type(steps: list[Any], outputs: Mapping[str, cel.Type]) -> cel.Type:
    """Give the type of a step list's output: that of its last step, if it always has one."""
    if not steps:
        return cel.NULL
    last: StepBase = steps[-1]
    always = last.on_error == "fail" and (last.if_ is None or isinstance(last, Condition))
    return outputs[last.id] if always else cel.DYN


def output_type(
    step: StepBase, specs: Mapping[str, ActionSpec], lists: Mapping[str, cel.Type], values: cel.Type
) -> cel.Type:
    """Give the type of the output of a step's body.

    `lists` are the types of its step lists by field path, `values` that of what `set` renders.
    """
    if isinstance(step, ActionStep):
        spec = specs.get(step.type)
        return cel.type_from_json_schema(spec.result) if spec else cel.DYN
    if isinstance(step, Condition):
        return cel.BOOL
    if isinstance(step, SetVars):
        return values
    if isinstance(step, Switch):
        return join(lists.values())
    if isinstance(step, Split):
        inner = cel.DYN if step.holdout else join(lists.values())
        return cel.object_type({"variant": cel.STRING, "output": inner})
    if isinstance(step, Parallel):
        return _parallel(step, lists)
    if isinstance(step, ForEach):
        return cel.list_of(_item_result(step, lists["do"]))
    if isinstance(step, Repeat):
        return lists["do"]
    if isinstance(step, Agent | SubRun):
        return _agent(step) if isinstance(step, Agent) else _sub_run(step)
    return _waiting(step)


def _parallel(step: Parallel, lists: Mapping[str, cel.Type]) -> cel.Type:
    whole = step.join == "all" and step.on_branch_error == "fail"
    fields: dict[str, cel.Type] = {}
    for index, branch in enumerate(step.branches):
        found = lists[f"branches[{index}].do"] if whole else cel.DYN
        fields[branch.name] = cel.DYN if found == cel.NULL else found
    return cel.object_type(fields)


def _item_result(step: ForEach, last: cel.Type) -> cel.Type:
    if step.join != "all" or last == cel.NULL:
        last = cel.DYN
    if step.tolerate is None:
        return last
    fields = {"index": cel.INT, "status": cel.STRING, "output": cel.DYN, "error": cel.DYN}
    return cel.object_type(fields)


def _agent(step: Agent) -> cel.Type:
    schema = step.with_.output
    answer = cel.STRING
    if schema is not None:
        known = schema.get("type") == "object" and find_schema_fault(schema) is None
        answer = cel.type_from_json_schema(schema) if known else cel.DYN
    fields: dict[str, cel.Type] = {
        "output": answer,
        "text": cel.DYN,
        "turns": cel.INT,
        "calls": cel.INT,
        "model": cel.STRING,
        "provider": cel.STRING,
        "usage": cel.map_of(cel.DYN),
    }
    return cel.object_type(fields)


def _sub_run(step: SubRun) -> cel.Type:
    if step.mode == "detach" or step.depends == "parallel":
        return _SUB_RUN
    return _SUB_RUN_END if step.depends == "conditional" else cel.DYN


def _waiting(step: StepBase) -> cel.Type:
    if isinstance(step, Delay):
        return cel.NULL
    if isinstance(step, Wait) and not isinstance(step.on_timeout, list):
        if step.any is not None:
            return _ANY_OF
        return cel.list_of(cel.DYN) if step.all is not None else cel.DYN
    if isinstance(step, Approval):
        return cel.object_type(
            {
                "decision": cel.STRING,
                "data": schema_type(step.form),
                "by": cel.DYN,
                "answers": cel.list_of(cel.DYN),
            }
        )
    return cel.DYN


def kept_type(step: StepBase, output: cel.Type) -> cel.Type:
    """Give the type that others see: a fallback's output may stand in for the step's own."""
    return cel.DYN if has_fallback(step) else output


def plain_type(type_: cel.Type) -> cel.Type:
    """Give the type of a value once it is kept as JSON: times and bytes have become texts."""
    if type_.kind in ("timestamp", "duration", "bytes"):
        return cel.STRING
    if type_.kind == "uint":
        return cel.INT
    if type_.kind == "type":
        return cel.DYN
    if type_.fields is not None:
        fields = {name: plain_type(one) for name, one in type_.fields.items()}
        return cel.object_type(fields, type_.closed, type_.required)
    if type_.element is not None:
        element = plain_type(type_.element)
        return cel.list_of(element) if type_.kind == "list" else cel.map_of(element)
    return type_
