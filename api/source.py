"""Definitions as request bodies: JSON or YAML text, read with a cap and kept as written."""

from typing import Annotated, Any

from fastapi import Depends, Request

from api.content import find_unstorable
from api.dependencies import ConfigDep
from api.raw_body import read_body
from schemas.errors import InputError

JSON_TYPES = ("application/json",)
YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml")


async def read_text(request: Request, limit: int, what: str) -> str:
    """Read the body as text: at most `limit` bytes (413), UTF-8, JSON or YAML by content type."""
    given = request.headers.get("content-type", "application/json")
    kind = given.partition(";")[0].strip().lower()
    if kind not in JSON_TYPES + YAML_TYPES:
        raise InputError(
            f"a {what} cannot be read from {kind!r}",
            hint="send application/json or application/yaml",
        )
    body = await read_body(request, limit, what)
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"the {what} is not UTF-8: {error}") from error
    if fault := find_unstorable(text):
        raise InputError(f"the {what} cannot be stored: {fault}")
    return text


async def read_source(request: Request, config: ConfigDep) -> str:
    """Read a definition as it was written, with the cap of the configuration."""
    return await read_text(request, config.max_definition_bytes, "definition")


SourceDep = Annotated[str, Depends(read_source)]

_EXAMPLE = {
    "name": "hello",
    "input": {"type": "object", "properties": {"email": {"type": "string"}}},
    "steps": [{"id": "think", "type": "delay", "for": "3d"}],
}
_TEXT = """\
name: hello
steps:
  - {id: think, type: delay, for: 3d}
"""
# FastAPI cannot see a body that is read as a stream; this documents it.
SOURCE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "the definition, at most 512 KiB; its JSON Schema is at /api/v1/schema",
        "content": {
            "application/json": {"schema": {"type": "object"}, "example": _EXAMPLE},
            "application/yaml": {"schema": {"type": "string"}, "example": _TEXT},
        },
    }
}
