"""What a form must fit before it is stored."""

from typing import Any

import jsonschema_rs

from schemas.errors import ErrorCode, InputError, Problem


def check_fields(schema: dict[str, Any]) -> None:
    """Check a form's `fields`; raises InputError where they are no JSON Schema."""
    try:
        # Offline: a schema must not make this process read files or call addresses.
        jsonschema_rs.validator_for(
            schema, offline=True, pattern_options=jsonschema_rs.RegexOptions()
        )
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        message = f"not a JSON Schema: {str(error).splitlines()[0]}"
        raise InputError(
            f"'fields' is {message}",
            problems=[Problem(code=ErrorCode.INVALID_INPUT, path="fields", message=message)],
        ) from error
