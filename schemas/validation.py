"""Checks at publish: all that is wrong with a definition, with rule, path, position and hint."""

import json
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from schemas.actions import Catalogue
from schemas.definition import MAX_BYTES, Definition
from schemas.document import Document, parse_document
from schemas.errors import DefinitionError, ErrorCode, Position, Problem, Severity
from schemas.graph import find_order_problems
from schemas.inputs import check_input, check_size
from schemas.markers import marked_places
from schemas.model_errors import find_model_problems, without_faults
from schemas.parameters import find_parameter_problems
from schemas.reachability import find_unreachable
from schemas.rules import Rule, refused
from schemas.shape import shape_limits, unknown_types
from schemas.structure import find_duplicate_ids, find_structure_problems
from schemas.typecheck import find_expression_problems

__all__ = ["Checked", "check", "check_input", "check_size", "find_problems", "load_definition"]


@dataclass(frozen=True)
class Checked:
    """A definition that was checked: None unless it may be published, and all that was found."""

    definition: Definition | None
    problems: list[Problem]

    @property
    def errors(self) -> list[Problem]:
        """The problems that refuse a publish."""
        return [one for one in self.problems if one.severity is Severity.ERROR]

    @property
    def warnings(self) -> list[Problem]:
        """The problems that only tell."""
        return [one for one in self.problems if one.severity is Severity.WARNING]


def find_problems(source: str | dict[str, Any], catalogue: Catalogue | None) -> list[Problem]:
    """Give every problem of a definition, as text or as data, warnings included.

    Without a catalogue, action names and their parameters are not checked.
    """
    return check(source, catalogue).problems


def load_definition(source: str | dict[str, Any], catalogue: Catalogue | None) -> Definition:
    """Parse and check a definition.

    Raises DefinitionError that lists every problem.
    """
    checked = check(source, catalogue)
    if checked.definition is None:
        raise invalid(checked.problems)
    return checked.definition


def invalid(problems: list[Problem]) -> DefinitionError:
    """Build the error for a definition with these problems, of which one at least is an error."""
    errors = [one for one in problems if one.severity is Severity.ERROR]
    first = errors[0]
    where = f" at {first.path}" if first.path else ""
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return DefinitionError(
        f"the definition is not valid{where}: {first.message}{more}",
        code=first.code if first.code == ErrorCode.LIMIT_EXCEEDED else None,
        hint=first.hint,
        path=first.path,
        problems=problems,
    )


def check(source: str | dict[str, Any], catalogue: Catalogue | None) -> Checked:
    """Check a definition, as text or as data; problems come in the order of the text."""
    size = len(source.encode()) if isinstance(source, str) else len(json.dumps(source))
    if size > MAX_BYTES:
        message = f"the definition has {size} bytes; the limit is {MAX_BYTES}"
        return Checked(None, [refused(Rule.LIMIT_SIZE, "", message)])
    try:
        document = parse_document(source) if isinstance(source, str) else Document(source, {})
    except DefinitionError as error:
        named = [one.model_copy(update={"rule": Rule.BAD_DOCUMENT}) for one in error.problems]
        return Checked(None, named)
    definition, problems = _check_data(document.data, catalogue)
    located = [_locate(problem, document) for problem in problems]
    found = Checked(definition, sorted(located, key=_place))
    return Checked(None, found.problems) if found.errors else found


def _check_data(data: Any, catalogue: Catalogue | None) -> tuple[Definition | None, list[Problem]]:
    problems = shape_limits(data) or [
        refused(Rule.BAD_VALUE, path, "U+FDD0 stands for secrets and cannot be written")
        for path in marked_places(data)
    ]
    if problems:
        return None, problems
    if catalogue is not None:
        problems = unknown_types(data, catalogue.specs())
    try:
        definition = Definition.model_validate(data)
    except ValidationError as error:
        # The fields of a step of an unknown type cannot be judged.
        unknown = tuple(problem.path.removesuffix("type") for problem in problems)
        found = find_model_problems(error, data)
        problems += [one for one in found if not (one.path + ".").startswith(unknown)]
        try:
            definition = Definition.model_validate(without_faults(error, data))
        except ValidationError:
            return None, problems
    # What is wrong already is not told a second time, in other words.
    faulty = tuple(_step_of(problem.path) for problem in problems)
    rest = _find_in(definition, catalogue)
    return definition, problems + [one for one in rest if _step_of(one.path) not in faulty]


def _step_of(path: str) -> str:
    """The path of the innermost step, or other entry of a list, that a path leads into."""
    return path[: path.rfind("]") + 1] or path


def _find_in(definition: Definition, catalogue: Catalogue | None) -> list[Problem]:
    specs = catalogue.specs() if catalogue is not None else {}
    problems = find_duplicate_ids(definition)
    for path, steps in definition.top_lists():
        problems += find_order_problems(steps, path)
    broken = bool(problems)
    problems += [
        *find_structure_problems(definition),
        *find_parameter_problems(definition.walk(), specs),
    ]
    # The rest only makes sense over a graph that holds together.
    if not broken:
        problems += [*find_unreachable(definition), *find_expression_problems(definition, specs)]
    return problems


def _locate(problem: Problem, document: Document) -> Problem:
    if problem.position is not None:
        return problem
    return problem.model_copy(update={"position": document.position(problem.path)})


def _place(problem: Problem) -> tuple[int, int, str]:
    position = problem.position or Position(line=0, column=0)
    return position.line, position.column, problem.path
