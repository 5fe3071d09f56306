"""Which variables the steps of a list read, in all their expressions."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from schemas.expressions import Reference, expression_references, references

# The fields that hold CEL; in every other text it stands in {{ }}.
CEL_FIELDS = frozenset({"if_", "while_", "until", "on", "where"})


def read_by(value: Any) -> Iterator[Reference]:
    """Give the variables that steps, or any values inside them, read; some more than once.

    Raises ExpressionError where an expression cannot be parsed.
    """
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            inner = getattr(value, name)
            if name in CEL_FIELDS and isinstance(inner, str):
                yield from expression_references(inner)
            else:
                yield from read_by(inner)
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from read_by(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from read_by(inner)
    elif isinstance(value, str):
        yield from references(value)
