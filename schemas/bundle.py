"""Bundles: definitions with what belongs to them as one YAML document, to be carried elsewhere."""

from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError

from schemas.definition import DefinitionName
from schemas.document import Document, Loader, parse_document
from schemas.errors import ErrorCode, InputError, Problem
from schemas.policies import Strict
from schemas.storable import find_unstorable
from schemas.triggers import TriggerInput

FORMAT = 1
MAX_BYTES = 4 * 1024 * 1024
MAX_ENTRIES = 1000
_SLUG = r"^[a-z0-9][a-z0-9_-]{0,62}$"
_TEST_FILE = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,120}\.test\.ya?ml$"
# YAML's own line breaks beside \n, and the byte order mark: a block would not keep them.
_UNKEPT = frozenset("\x85\u2028\u2029\ufeff")

_Text = Annotated[str, Field(max_length=256 * 1024)]


class BundledDefinition(Strict):
    """A definition: `source` is its text as it was written."""

    name: DefinitionName
    published: bool = True
    source: str


class BundledTemplate(Strict):
    """A stored email in its newest version."""

    name: Annotated[str, Field(pattern=_SLUG)]
    subject: Annotated[str, Field(min_length=1, max_length=998)]
    text: Annotated[_Text, Field(min_length=1)]
    html: _Text | None = None


class BundledForm(Strict):
    """A form that starts a definition."""

    name: Annotated[str, Field(pattern=_SLUG)]
    definition: DefinitionName
    title: Annotated[str, Field(max_length=200)] | None = None
    fields: dict[str, Any]
    mapping: dict[Literal["email", "name", "company"], str] = Field(default_factory=dict)


class BundledTrigger(Strict):
    """A trigger of a definition; what it names of secrets is names alone, and it has no token."""

    definition: DefinitionName
    trigger: TriggerInput


def _many(description: str) -> Any:
    return Field(default_factory=list, max_length=MAX_ENTRIES, description=description)


class Bundle(Strict):
    """All that a bundle holds; `tests` are files of `sojourn test`, which no server keeps."""

    sojourn: Literal[1] = FORMAT
    definitions: list[BundledDefinition] = _many("in the order of their names")
    templates: list[BundledTemplate] = _many("those that the definitions name")
    forms: list[BundledForm] = _many("those that start the definitions")
    triggers: list[BundledTrigger] = _many("never tokens, never secrets")
    tests: dict[Annotated[str, Field(pattern=_TEST_FILE)], str] = Field(
        default_factory=dict, max_length=MAX_ENTRIES, description="text by the file's name"
    )


class _Dumper(yaml.SafeDumper):
    """YAML whose plain scalars mean the same under YAML 1.1 and 1.2, with texts as blocks."""


# What either version would read as a number, a boolean or null is quoted.
_Dumper.yaml_implicit_resolvers = {
    first: [
        *yaml.SafeDumper.yaml_implicit_resolvers.get(first, []),
        *Loader.yaml_implicit_resolvers.get(first, []),
    ]
    for first in {*yaml.SafeDumper.yaml_implicit_resolvers, *Loader.yaml_implicit_resolvers}
}


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = None
    if not _UNKEPT.isdisjoint(value):
        style = '"'
    elif "\n" in value:
        style = "|"
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def dump_bundle(bundle: Bundle) -> str:
    """Give a bundle as YAML: the same content gives the same bytes."""
    parts: dict[str, Any] = {"sojourn": bundle.sojourn}
    parts["definitions"] = [one.model_dump() for one in bundle.definitions]
    parts["templates"] = [one.model_dump(exclude_none=True) for one in bundle.templates]
    parts["forms"] = [one.model_dump(exclude_none=True) for one in bundle.forms]
    parts["triggers"] = [
        {"definition": one.definition, "trigger": trigger_data(one.trigger)}
        for one in bundle.triggers
    ]
    parts["tests"] = dict(sorted(bundle.tests.items()))
    kept = {name: value for name, value in parts.items() if value or name == "definitions"}
    return dump_yaml(kept)


def dump_yaml(value: Any) -> str:
    """Give JSON data as YAML that `schemas.document` reads back; keys keep their order."""
    return yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100, indent=2
    )


def trigger_data(trigger: TriggerInput) -> dict[str, Any]:
    """Give what a trigger says beyond the defaults, with its kind and whether it is enabled."""
    said = trigger.model_dump(mode="json", exclude_defaults=True)
    return {"kind": trigger.kind, "enabled": trigger.enabled} | said


def parse_bundle(text: str) -> Bundle:
    """Read a bundle, YAML or JSON.

    Raises DefinitionError for text that is no YAML, InputError that lists every place where it
    is no bundle, with its position.
    """
    document = parse_document(text)
    data = document.data
    found = data.get("sojourn") if isinstance(data, dict) else None
    if found is True or found != FORMAT:
        raise InputError(
            f"this is no bundle of format {FORMAT}" + (f", but {found!r}" if found else ""),
            hint="a bundle begins with 'sojourn: 1'; definitions are published one by one",
        )
    if fault := find_unstorable(data):
        raise InputError(f"the bundle cannot be stored: {fault}")
    try:
        return Bundle.model_validate(data)
    except ValidationError as error:
        problems = [_problem(item, document) for item in error.errors()[:100]]
        first = problems[0]
        raise InputError(
            f"the bundle is not valid at {first.path}: {first.message}", problems=problems
        ) from error


def _problem(item: Any, document: Document) -> Problem:
    path = ""
    data: Any = document.data
    for part in item["loc"]:
        # The tags of unions stand in the location, too: only what is in the data is a place.
        if isinstance(part, int) and isinstance(data, list) and part < len(data):
            data, path = data[part], f"{path}[{part}]"
        elif isinstance(data, dict) and part in data:
            data, path = data[part], f"{path}.{part}".lstrip(".")
        elif part == item["loc"][-1]:
            path = f"{path}.{part}".lstrip(".")
    return Problem(
        code=ErrorCode.INVALID_INPUT,
        path=path,
        position=document.position(path),
        message=str(item["msg"]).removeprefix("Value error, "),
    )
