"""Structured answers: the schema that a model is given, and what is wrong with its answer."""

from collections.abc import Mapping
from typing import Any

import jsonschema_rs

from activities._questions import Reply
from schemas.errors import ErrorCode, Problem

_WRAPPED = "value"
_SHOWN = 10
_LONGEST = 500


def validator(schema: Mapping[str, Any], mask: str | None = None) -> Any:
    """Compile a schema that may reach nothing outside itself, with patterns of linear time.

    With `mask` messages show it in place of the values. Raises ValueError, TypeError or
    jsonschema_rs.ValidationError for what is no schema.
    """
    return jsonschema_rs.validator_for(
        dict(schema), offline=True, pattern_options=jsonschema_rs.RegexOptions(), mask=mask
    )


def object_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Give a schema of an object, as tools need: any other is wrapped as `{value: …}`."""
    if schema.get("type") == "object":
        return schema
    inner = {key: value for key, value in schema.items() if key != "$defs"}
    wrapped = {"type": "object", "properties": {_WRAPPED: inner}, "required": [_WRAPPED]}
    return {**wrapped, "$defs": schema["$defs"]} if "$defs" in schema else wrapped


class Fit:
    """An answer that fits its schema."""

    def __init__(self, value: Any) -> None:
        """Hold the answer."""
        self.value = value


def read(schema: dict[str, Any], reply: Reply, *, mask: str | None = None) -> Fit | list[Problem]:
    """Give the answer that fits `schema`, or the list of what is wrong with it."""
    if reply.output is None:
        return [_fault("output", "the answer is text; it must be a structured result")]
    if reply.output.arguments is None:
        return [_fault("output", "the answer is not a JSON object")]
    output: Any = reply.output.arguments
    if schema.get("type") != "object":
        if _WRAPPED not in output:
            return [_fault("output", f"the answer has no {_WRAPPED!r}")]
        output = output[_WRAPPED]
    faults = list(validator(schema, mask).iter_errors(output))
    if not faults:
        return Fit(output)
    return [
        _fault(
            "output" + "".join(f"[{at!r}]" for at in fault.instance_path), fault.message[:_LONGEST]
        )
        for fault in faults[:_SHOWN]
    ]


def _fault(path: str, message: str) -> Problem:
    return Problem(code=ErrorCode.AI_INVALID_OUTPUT, path=path, message=message)


def correction(reply: Reply, problems: list[Problem]) -> list[dict[str, Any]]:
    """Give the messages that tell a model what was wrong with its answer."""
    listed = "\n".join(f"- {problem.path}: {problem.message}" for problem in problems)
    words = f"The answer does not fit the schema:\n{listed}\nGive the whole answer again, correct."
    refused = [
        {"role": "tool", "id": call.id, "name": call.name, "content": words, "failed": True}
        for call in ([reply.output] if reply.output else [])
    ]
    return refused or [{"role": "user", "content": words}]
