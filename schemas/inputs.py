"""Values against JSON Schemas and sizes: inputs of runs, answers, parameters of actions."""

import json
from typing import Any

import jsonschema_rs

from schemas.errors import ErrorCode, InputError, LimitError, Problem


def validator(schema: dict[str, Any]) -> jsonschema_rs.Validator:
    """Build a validator that opens no file and no connection for a `$ref`, and no slow pattern.

    Raises jsonschema_rs.ValidationError, ReferencingError or ValueError for a bad schema.
    """
    return jsonschema_rs.validator_for(
        schema,
        validate_formats=True,
        offline=True,
        pattern_options=jsonschema_rs.RegexOptions(),
    )


def find_schema_fault(schema: dict[str, Any]) -> str | None:
    """Say what is wrong with a JSON Schema (draft 2020-12); None when nothing is."""
    try:
        jsonschema_rs.meta.validate(schema)
        validator(schema)
    except (
        jsonschema_rs.ValidationError,
        jsonschema_rs.ReferencingError,
        ValueError,
    ) as error:
        return str(getattr(error, "message", error))
    return None


def check_input(schema: dict[str, Any], value: Any) -> None:
    """Check a value against a JSON Schema (draft 2020-12, formats asserted).

    Raises InputError that lists every problem with its path.
    """
    problems = [
        Problem(
            code=ErrorCode.INVALID_INPUT,
            path=_instance_path(error.instance_path),
            message=error.message,
        )
        for error in validator(schema).iter_errors(value)
    ]
    if problems:
        first = problems[0]
        where = f" at {first.path}" if first.path else ""
        raise InputError(f"the input is not valid{where}: {first.message}", problems=problems)


def _instance_path(parts: list[str | int]) -> str:
    path = ""
    for part in parts:
        path += f"[{part}]" if isinstance(part, int) else (f".{part}" if path else part)
    return path


def check_size(value: Any, limit: int, what: str) -> None:
    """Raise LimitError when a value's JSON is longer than `limit` bytes."""
    size = len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())
    if size > limit:
        raise LimitError(f"{what} has {size} bytes; the limit is {limit}")
