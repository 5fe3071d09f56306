"""The gallery: the ready-made definitions of `examples/`, with what belongs to them."""

import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from schemas.bundle import Bundle, BundledDefinition, BundledForm, BundledTemplate
from schemas.definition import Definition
from schemas.document import parse_document
from schemas.errors import NotFoundError
from schemas.needs import needs_of

FOLDER = Path(__file__).resolve().parent.parent / "examples"
_NAME = re.compile(r"^name:[ \t]*\S+", re.MULTILINE)


@dataclass(frozen=True)
class Ready:
    """A ready-made definition; `test` is the text of its test file."""

    name: str
    title: str
    description: str
    tags: list[str]
    source: str
    templates: list[BundledTemplate]
    forms: list[BundledForm]
    needs: list[str] = field(default_factory=list)
    test: str | None = None

    def bundle(self, name: str | None = None) -> Bundle:
        """Give it as a bundle, under another name if one is given; the test file stays behind."""
        wanted = name or self.name
        # The comments stay: only the name's own line is another.
        source = _NAME.sub(f"name: {wanted}", self.source, count=1)
        forms = [] if wanted != self.name else self.forms
        return Bundle(
            definitions=[BundledDefinition(name=wanted, source=source)],
            templates=self.templates,
            forms=forms,
        )


@cache
def gallery() -> dict[str, Ready]:
    """Read the gallery, in the order of its index; the files come with the package."""
    index: dict[str, list[str]] = _data(FOLDER / "gallery" / "index.yaml")
    templates = [
        BundledTemplate.model_validate({"name": path.stem, **_data(path)})
        for path in sorted((FOLDER / "templates").glob("*.yaml"))
    ]
    forms = [
        BundledForm.model_validate({"name": path.stem, **_data(path)})
        for path in sorted((FOLDER / "forms").glob("*.yaml"))
    ]
    return {name: _ready(name, tags, templates, forms) for name, tags in index.items()}


def ready(name: str) -> Ready:
    """Give one definition of the gallery; raises NotFoundError."""
    found = gallery().get(name)
    if found is None:
        raise NotFoundError(f"the gallery has no {name!r}", hint="see GET /api/v1/gallery")
    return found


def _ready(
    name: str, tags: list[str], templates: list[BundledTemplate], forms: list[BundledForm]
) -> Ready:
    source = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    definition = Definition.model_validate(parse_document(source).data)
    needs = needs_of(definition)
    named = {need.name for need in needs if need.kind == "template"}
    test = FOLDER / "tests" / f"{name}.test.yaml"
    return Ready(
        name=name,
        title=definition.title or name,
        description=definition.description or "",
        tags=tags,
        source=source,
        templates=[one for one in templates if one.name in named],
        forms=[one for one in forms if one.definition == name],
        needs=[f"{need.kind} {need.name}" for need in needs if need.kind != "template"],
        test=test.read_text(encoding="utf-8") if test.is_file() else None,
    )


def _data(path: Path) -> dict[str, Any]:
    return parse_document(path.read_text(encoding="utf-8")).data
