"""Reading test files: every problem with its path, position and hint, as definitions have them."""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from schemas.actions import Catalogue
from schemas.definition import Definition
from schemas.document import Document, parse_document
from schemas.errors import DefinitionError, ErrorCode, InputError, Position, Problem
from schemas.steps import Approval, Condition, Split
from schemas.steps_flow import HOLDOUT
from schemas.validation import load_definition
from testing.cases import Case, Cases

ENDINGS = (".test.yaml", ".test.yml", ".test.json")
_Model = TypeVar("_Model", bound=BaseModel)
_ITERATION = re.compile(r"\[\d+\]$")


class Template(BaseModel):
    """A stored template as a test file's folder holds it."""

    model_config = ConfigDict(extra="forbid")

    name: str
    subject: str | None = None
    text: str | None = None
    html: str | None = None


@dataclass(frozen=True)
class Suite:
    """The cases of one test file, with what they run."""

    path: Path
    definition_path: Path
    definition: Definition
    cases: list[Case]
    document: Document
    templates: dict[str, Template] | None = None

    def position(self, index: int) -> Position | None:
        """Give the place of a case in the file."""
        return self.document.position(f"cases[{index}]")


@dataclass(frozen=True)
class BadFile:
    """A file that cannot be tested: itself or its definition is wrong."""

    path: Path
    message: str
    problems: list[Problem] = field(default_factory=list)


def find_files(paths: Iterable[Path]) -> list[Path]:
    """Give the test files among the paths: files as they are, folders by their `*.test.yaml`."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = (each for each in path.rglob("*") if each.name.endswith(ENDINGS))
            found += sorted(inside)
        else:
            found.append(path)
    return list(dict.fromkeys(found))


def load(path: Path, catalogue: Catalogue) -> Suite | BadFile:
    """Read one test file and the definition it names."""
    try:
        document, given = read_cases(_text(path))
        where = Path(os.path.normpath(path.parent / given.definition))
        if not where.is_file():
            raise _refused(document, "definition", f"there is no file {given.definition!r}")
    except (InputError, DefinitionError) as error:
        return BadFile(path, error.message, error.problems)
    try:
        definition = load_definition(_text(where), catalogue)
    except (InputError, DefinitionError) as error:
        return BadFile(where, error.message, error.problems)
    try:
        check_names(document, given.cases, definition)
        templates = _templates(path, given, document)
    except InputError as error:
        return BadFile(path, error.message, error.problems)
    return Suite(path, where, definition, given.cases, document, templates)


def read_cases(text: str) -> tuple[Document, Cases]:
    """Parse a test file; raises InputError or DefinitionError with every problem."""
    document = parse_document(text)
    return document, read_model(document, Cases)


def read_model(document: Document, model: type[_Model]) -> _Model:
    """Validate a document; raises InputError with every problem and its position."""
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        problems = [_problem(fault, document) for fault in error.errors()]
        raise InputError(f"the file is not valid: {_first(problems)}", problems=problems) from error


def _problem(fault: Any, document: Document) -> Problem:
    path = ""
    for part in fault["loc"]:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    message = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        message = f"the field {fault['loc'][-1]!r} is not known here"
    elif fault["type"] == "missing":
        message = f"the field {fault['loc'][-1]!r} is required"
    return Problem(
        code=ErrorCode.INVALID_INPUT,
        path=path,
        position=document.position(path),
        message=message,
    )


def _first(problems: list[Problem]) -> str:
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{problems[0].path}: {problems[0].message}{more}"


def _refused(document: Document, path: str, message: str, hint: str | None = None) -> InputError:
    problem = Problem(
        code=ErrorCode.INVALID_INPUT,
        path=path,
        position=document.position(path),
        message=message,
        hint=hint,
    )
    return InputError(f"{path}: {message}", problems=[problem], hint=hint)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def step_id(path: str) -> str:
    """Give the id of the step at a path: `send` for `each[3].send`."""
    return _ITERATION.sub("", path.rpartition(".")[2])


def check_names(document: Document, cases: list[Case], definition: Definition) -> None:
    """Refuse names of steps that the definition has not; raises InputError with all of them."""
    steps = definition.by_id()
    known = {
        "step": list(steps),
        "condition with a check": [
            step.id
            for step in steps.values()
            if isinstance(step, Condition) and step.check is not None
        ],
        "approval": [step.id for step in steps.values() if isinstance(step, Approval)],
        "variant": [way for step in steps.values() if isinstance(step, Split) for way in _of(step)],
    }
    problems: list[Problem] = []
    for index, case in enumerate(cases):
        for path, name, what in _names(case, f"cases[{index}]"):
            here = name if what == "variant" else step_id(name)
            if here in known[what]:
                continue
            near = get_close_matches(here, known[what], 1)
            problem = Problem(
                code=ErrorCode.INVALID_INPUT,
                path=path,
                position=document.position(path),
                message=f"the definition has no {what} {name!r}",
                hint=f"did you mean {near[0]!r}?" if near else None,
            )
            problems.append(problem)
    if problems:
        raise InputError(f"the file is not valid: {_first(problems)}", problems=problems)


def _of(step: Split) -> list[str]:
    names = [variant.name for variant in step.variants]
    return [f"{step.id}: {name}" for name in [*names, HOLDOUT]]


def _names(case: Case, here: str) -> Iterator[tuple[str, str, str]]:
    """Give every name of a step in a case: its place, the name, and what it must be."""
    for name in case.mocks:
        yield f"{here}.mocks.{name}", name, "step"
    for name in case.checks:
        yield f"{here}.checks.{name}", name, "condition with a check"
    for name, variant in case.variants.items():
        yield f"{here}.variants.{name}", f"{step_id(name)}: {variant}", "variant"
    for number, answer in enumerate(case.answers):
        yield f"{here}.answers[{number}].step", answer.step, "approval"
    for number, order in enumerate(case.operators):
        if order.step is not None:
            yield f"{here}.operators[{number}].step", order.step, "step"
    for number, name in enumerate(case.expect.path or []):
        yield f"{here}.expect.path[{number}]", name, "step"
    for name in case.expect.steps:
        yield f"{here}.expect.steps.{name}", name, "step"
    for name in case.expect.attempts:
        yield f"{here}.expect.attempts.{name}", name, "step"


def _templates(path: Path, given: Cases, document: Document) -> dict[str, Template] | None:
    if given.templates is None:
        return None
    folder = path.parent / given.templates
    if not folder.is_dir():
        raise _refused(document, "templates", f"there is no folder {given.templates!r}")
    found: dict[str, Template] = {}
    for each in sorted(folder.glob("*.yaml")):
        try:
            source = parse_document(_text(each))
            data = {"name": each.stem, **source.data} if isinstance(source.data, dict) else {}
            template = read_model(Document(data, {}), Template)
        except (InputError, DefinitionError) as error:
            message = f"the template {each.name} is not valid: {error.message}"
            raise _refused(document, "templates", message) from error
        found[template.name] = template
    return found
