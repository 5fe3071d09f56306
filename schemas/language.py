"""The language as one JSON Schema, with which editors complete and check YAML."""

from typing import Any

from schemas.actions import ActionSpec, Catalogue
from schemas.definition import Definition
from schemas.descriptions import describe

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TEMPLATE = {"type": "string", "pattern": r"\{\{", "description": "an expression: {{ CEL }}"}


def language_schema(catalogue: Catalogue) -> dict[str, Any]:
    """Give the JSON Schema (draft 2020-12) of definitions, with one step type for each action."""
    schema = Definition.model_json_schema(by_alias=True)
    schema["properties"] = describe("Definition", schema["properties"])
    definitions: dict[str, Any] = schema["$defs"]
    for name, part in definitions.items():
        if "properties" in part:
            part["properties"] = describe(name, part["properties"])
    generic = definitions.pop("ActionStep")
    references: list[dict[str, str]] = []
    for name, spec in catalogue.specs().items():
        key = f"action.{name}"
        params = _renamed(spec.params, key)
        for inner_name, inner in params.pop("$defs", {}).items():
            definitions[f"{key}.{inner_name}"] = inner
        definitions[key] = _action_step(generic, spec, params)
        references.append({"$ref": f"#/$defs/{key}"})
    schema = _with_actions(schema, references)
    return {"$schema": DIALECT, "title": "Sojourn workflow definition", **schema}


def _action_step(
    generic: dict[str, Any], spec: ActionSpec, params: dict[str, Any]
) -> dict[str, Any]:
    properties = params.get("properties", {})
    relaxed = {name: _or_template(value) for name, value in properties.items()}
    required = list(generic["required"]) + (["with"] if params.get("required") else [])
    return {
        **generic,
        "title": spec.name,
        "description": spec.summary,
        "required": required,
        "properties": {
            **generic["properties"],
            "type": {"const": spec.name, "type": "string", "description": spec.summary},
            "with": {**params, "properties": relaxed} if properties else params,
        },
    }


def _or_template(schema: dict[str, Any]) -> dict[str, Any]:
    """Every parameter may be an expression instead, whatever its type."""
    return {"anyOf": [schema, _TEMPLATE]}


def _renamed(value: Any, prefix: str) -> Any:
    """Point references of an action's own schema to where its parts now stand."""
    if isinstance(value, dict):
        return {
            key: f"#/$defs/{prefix}.{item.removeprefix('#/$defs/')}"
            if key == "$ref" and isinstance(item, str)
            else _renamed(item, prefix)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_renamed(item, prefix) for item in value]
    return value


def _with_actions(value: Any, references: list[dict[str, str]]) -> Any:
    """Replace the open action step by one alternative for each action."""
    if isinstance(value, list):
        replaced: list[Any] = []
        for item in value:
            if item == {"$ref": "#/$defs/ActionStep"}:
                replaced += references
            else:
                replaced.append(_with_actions(item, references))
        return replaced
    if isinstance(value, dict):
        return {key: _with_actions(item, references) for key, item in value.items()}
    return value
