"""What a definition needs beside itself: stored access, templates, other definitions."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from schemas.definition import Definition
from schemas.named import named_in
from schemas.steps import ActionStep, SubRun

NeedKind = Literal["secret", "connection", "template", "definition"]


class Need(NamedTuple):
    """One thing that must be stored before a run gets to the step that names it."""

    kind: NeedKind
    name: str


def needs_of(definition: Definition) -> list[Need]:
    """Give what a definition names in plain text, each once, by kind and name."""
    return sorted(set(_needs(definition)))


def _needs(definition: Definition) -> Iterator[Need]:
    for one in named_in(definition):
        yield Need(one.kind, one.name)
    for _, step in definition.walk():
        if isinstance(step, SubRun) and step.definition != definition.name:
            yield Need("definition", step.definition)
        if isinstance(step, ActionStep) and step.type == "email":
            name = step.with_.get("template")
            if isinstance(name, str) and "{{" not in name:
                yield Need("template", name)
