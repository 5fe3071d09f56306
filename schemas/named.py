"""What of the stored access a definition names: secrets and connections, each with its place."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from schemas.connections import CONNECTION_NAME
from schemas.definition import Definition
from schemas.expressions import parse_template, templates
from schemas.markers import secret_named
from schemas.steps import ActionStep, Agent

# Parameters that hold an author's own data, in which `connection` can mean anything.
_DATA = frozenset({"body", "data", "fields", "form", "headers", "input", "json", "query"})


@dataclass(frozen=True, slots=True)
class Named:
    """One place, `steps[2].with.url`, that names a secret or a connection."""

    kind: Literal["secret", "connection"]
    name: str
    path: str


def named_in(definition: Definition) -> Iterator[Named]:
    """Give every secret and connection that the actions of a definition name in plain text."""
    for path, step in definition.walk():
        if isinstance(step, Agent):
            yield from _connections(step.question(), f"{path}.with")
        if not isinstance(step, ActionStep):
            continue
        for place, text in templates(step.with_, f"{path}.with"):
            for _, source in parse_template(text).sources:
                name = secret_named(source)
                if name is not None:
                    yield Named("secret", name, place)
        yield from _connections(step.with_, f"{path}.with")


def _connections(given: Mapping[str, Any], path: str) -> Iterator[Named]:
    """Find `connection: NAME` of an action itself, and of the entries of its lists."""
    name = given.get("connection")
    if isinstance(name, str) and re.match(CONNECTION_NAME, name):
        yield Named("connection", name, f"{path}.connection")
    for key, entries in given.items():
        if key in _DATA or not isinstance(entries, list):
            continue
        for index, entry in enumerate(entries):
            if isinstance(entry, Mapping):
                yield from _connections(entry, f"{path}.{key}[{index}]")
