"""Checks of a trigger: its `where`, and the input that it gives its runs."""

from collections.abc import Iterator, Mapping
from typing import Any

from schemas import cel
from schemas.errors import ErrorCode, ExpressionError, InputError, Problem
from schemas.expressions import parse_template, templates
from schemas.validation import check_input

Scope = Mapping[str, cel.Type]


def find_trigger_problems(
    where: str | None, given: dict[str, Any], schema: dict[str, Any], scope: Scope
) -> list[Problem]:
    """Give every problem of a trigger: `given` may hold {{ }}, `schema` is of the run's input.

    `scope` types the names that its expressions may use.
    """
    found = [] if where is None else list(_expression(where, "where", scope, cel.BOOL))
    found += find_template_problems(given, "input", scope)
    return found or list(_shape(given, schema))


def find_template_problems(value: Any, path: str, scope: Scope) -> Iterator[Problem]:
    """Give every problem of the {{ }} inside a value."""
    for place, text in templates(value, path):
        try:
            sources = parse_template(text).sources
        except ExpressionError as error:
            yield _problem(place, error.message, error.hint)
            continue
        for _, source in sources:
            yield from _expression(source, place, scope)


def _expression(
    source: str, path: str, scope: Scope, wanted: cel.Type | None = None
) -> Iterator[Problem]:
    kind, problems = cel.check(source, dict(scope))
    for problem in problems:
        yield _problem(path, problem.message, problem.hint)
    if wanted is not None and not problems and kind not in (wanted, cel.DYN):
        yield _problem(path, f"gives {kind}, but {wanted} is needed", None)


def _problem(path: str, message: str, hint: str | None) -> Problem:
    return Problem(code=ErrorCode.EXPRESSION_ERROR, path=path, message=message, hint=hint)


def _shape(given: dict[str, Any], schema: dict[str, Any]) -> Iterator[Problem]:
    """Check names, and all values where no event decides them; the rest shows with each event."""
    if not any(templates(given)):
        try:
            check_input(schema, given)
        except InputError as error:
            for problem in error.problems:
                path = f"input.{problem.path}" if problem.path else "input"
                yield problem.model_copy(update={"path": path})
        return
    known = schema.get("properties", {})
    for name in schema.get("required", []):
        if name not in given:
            yield Problem(
                code=ErrorCode.INVALID_INPUT,
                path="input",
                message=f"the definition's input needs {name!r}",
            )
    if schema.get("additionalProperties") is False:
        for name in given:
            if name not in known:
                yield Problem(
                    code=ErrorCode.INVALID_INPUT,
                    path=f"input.{name}",
                    message=f"the definition's input has no {name!r}",
                )
