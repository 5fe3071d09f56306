"""Static types: what is known of a value before the expression runs."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from schemas.cel.budget import MAX_DEPTH
from schemas.cel.values import NUMERIC


@dataclass(frozen=True)
class Type:
    """A static type.

    `kind` is the run-time kind or `dyn`; `element` is a list's item or a map's value; `fields`
    are an object's, `closed` says that it has no others, `required` those always there.
    """

    kind: str
    element: "Type | None" = None
    fields: Mapping[str, "Type"] | None = None
    closed: bool = False
    required: frozenset[str] = frozenset()

    def __str__(self) -> str:
        """Name the type for a message."""
        if self.kind == "list" and self.element is not None and self.element != DYN:
            return f"list of {self.element}"
        return {"null_type": "null", "dyn": "any"}.get(self.kind, self.kind)


DYN: Final = Type("dyn")
BOOL: Final = Type("bool")
INT: Final = Type("int")
UINT: Final = Type("uint")
DOUBLE: Final = Type("double")
STRING: Final = Type("string")
BYTES: Final = Type("bytes")
NULL: Final = Type("null_type")
TIMESTAMP: Final = Type("timestamp")
DURATION: Final = Type("duration")
TYPE: Final = Type("type")


def list_of(element: Type) -> Type:
    """Return the type of a list of `element`."""
    return Type("list", element)


def map_of(element: Type) -> Type:
    """Return the type of a map whose values are `element`, with any keys."""
    return Type("map", element)


def object_type(
    fields: Mapping[str, Type], closed: bool = True, required: Collection[str] = ()
) -> Type:
    """Return the type of a map with known fields; `closed` refuses all others."""
    return Type("map", None, dict(fields), closed, frozenset(required))


_NAMED: Final = {
    type_.kind: type_
    for type_ in (
        BOOL,
        INT,
        UINT,
        DOUBLE,
        STRING,
        BYTES,
        NULL,
        TIMESTAMP,
        DURATION,
        TYPE,
    )
}


def type_named(name: str) -> Type:
    """Return the type for a name as functions declare their results, `list<string>` for one."""
    if name == "list<string>":
        return list_of(STRING)
    if name in ("list", "map"):
        return Type(name, DYN)
    return _NAMED.get(name, DYN)


def join(types: Collection[Type]) -> Type:
    """Return the type that all of `types` have, else DYN."""
    found = list(types)
    if found and all(type_ == found[0] for type_ in found):
        return found[0]
    return DYN


def comparable(left: Type, right: Type) -> bool:
    """Tell whether `==` between the two could ever be true; null may stand for anything."""
    if "dyn" in (left.kind, right.kind) or "null_type" in (left.kind, right.kind):
        return True
    if left.kind in NUMERIC and right.kind in NUMERIC:
        return True
    return left.kind == right.kind


_JSON_TYPES: Final = {
    "string": STRING,
    "integer": INT,
    "number": DOUBLE,
    "boolean": BOOL,
    "null": NULL,
}
_UNDECIDED: Final = ("anyOf", "oneOf", "allOf", "not", "if", "$ref", "$dynamicRef")


def type_from_json_schema(schema: Mapping[str, Any] | bool, depth: int = 0) -> Type:
    """Return the static type of the values that a JSON Schema admits, DYN where it is open.

    An object with `properties` is closed unless it allows additional ones; `nullable`, several
    types, references and combinations are DYN.
    """
    if isinstance(schema, bool) or depth > MAX_DEPTH:
        return DYN
    if schema.get("nullable") or any(word in schema for word in _UNDECIDED):
        return DYN
    name = schema.get("type")
    if not isinstance(name, str):
        return DYN
    if name == "array":
        items = schema.get("items", True)
        known = isinstance(items, Mapping) and "prefixItems" not in schema
        return list_of(type_from_json_schema(items, depth + 1) if known else DYN)
    if name == "object":
        return _object(schema, depth)
    return _JSON_TYPES.get(name, DYN)


def _object(schema: Mapping[str, Any], depth: int) -> Type:
    properties = schema.get("properties")
    additional = schema.get("additionalProperties")
    if not isinstance(properties, Mapping) or not properties:
        if isinstance(additional, Mapping) and "patternProperties" not in schema:
            return map_of(type_from_json_schema(additional, depth + 1))
        return map_of(DYN)
    fields = {
        str(name): type_from_json_schema(part, depth + 1)
        for name, part in properties.items()
        if isinstance(part, Mapping | bool)
    }
    closed = additional in (None, False) and "patternProperties" not in schema
    required = schema.get("required", ())
    return object_type(fields, closed, required if isinstance(required, list | tuple) else ())
