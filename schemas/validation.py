"""Checks at publish: everything wrong with a definition, each with path, position and hint."""

import json
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

import jsonschema_rs
from pydantic import ValidationError

from schemas.actions import ActionSpec, Catalogue
from schemas.definition import MAX_BYTES, MAX_DEPTH, MAX_STEPS, Definition
from schemas.document import Document, parse_document
from schemas.errors import (
    DefinitionError,
    ErrorCode,
    InputError,
    LimitError,
    Position,
    Problem,
)
from schemas.graph import find_order_problems
from schemas.step_base import ROUTES, STEPS, WORD, StepBase
from schemas.steps import CONTROL_KINDS, ActionStep
from schemas.typecheck import find_expression_problems

_PENDING_KINDS = frozenset({"approval", "workflow"})
_UNION_TAGS = frozenset({*CONTROL_KINDS, "action", ROUTES, STEPS, WORD})


def find_problems(source: str | dict[str, Any], catalogue: Catalogue | None) -> list[Problem]:
    """Give every problem of a definition, as text or as data; an empty list means it is valid.

    Without a catalogue, action names and their parameters are not checked.
    """
    return _check(source, catalogue)[1]


def load_definition(source: str | dict[str, Any], catalogue: Catalogue | None) -> Definition:
    """Parse and check a definition.

    Raises DefinitionError that lists every problem.
    """
    definition, problems = _check(source, catalogue)
    if problems or definition is None:
        first = problems[0]
        where = f" at {first.path}" if first.path else ""
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise DefinitionError(
            f"the definition is not valid{where}: {first.message}{more}",
            code=first.code if first.code == ErrorCode.LIMIT_EXCEEDED else None,
            hint=first.hint,
            path=first.path,
            problems=problems,
        )
    return definition


def _check(
    source: str | dict[str, Any], catalogue: Catalogue | None
) -> tuple[Definition | None, list[Problem]]:
    size = len(source.encode()) if isinstance(source, str) else len(json.dumps(source))
    if size > MAX_BYTES:
        message = f"the definition has {size} bytes; the limit is {MAX_BYTES}"
        return None, [Problem(code=ErrorCode.LIMIT_EXCEEDED, message=message)]
    try:
        document = parse_document(source) if isinstance(source, str) else Document(source, {})
    except DefinitionError as error:
        return None, error.problems
    problems = _shape_limits(document.data)
    definition: Definition | None = None
    if not problems:
        specs = catalogue.specs() if catalogue is not None else None
        problems = _unknown_types(document.data.get("steps"), "steps", specs)
        unknown = tuple(problem.path.removesuffix("type") for problem in problems)
        try:
            definition = Definition.model_validate(document.data)
        except ValidationError as error:
            shape = [_from_pydantic(item, document.data) for item in error.errors()]
            # The fields of a step of an unknown type cannot be judged.
            problems += [item for item in shape if not (item.path + ".").startswith(unknown)]
        if definition is not None:
            problems += _find_semantic_problems(definition, specs)
    located = [_locate(problem, document) for problem in problems]
    return definition, sorted(located, key=_place)


def _locate(problem: Problem, document: Document) -> Problem:
    if problem.position is not None:
        return problem
    return problem.model_copy(update={"position": document.position(problem.path)})


def _place(problem: Problem) -> tuple[int, int, str]:
    position = problem.position or Position(line=0, column=0)
    return position.line, position.column, problem.path


def _shape_limits(data: Any) -> list[Problem]:
    """Refuse what is too deep or too long before Pydantic walks it."""
    if not isinstance(data, dict):
        return [Problem(message="a definition is a mapping with 'name' and 'steps'")]
    count, deepest = _measure(data.get("steps"), 1)
    problems: list[Problem] = []
    if count > MAX_STEPS:
        problems.append(_limit("steps", f"{count} steps; the limit is {MAX_STEPS}"))
    if deepest > MAX_DEPTH:
        problems.append(_limit("steps", f"steps nested {deepest} deep; the limit is {MAX_DEPTH}"))
    return problems


def _limit(path: str, message: str) -> Problem:
    return Problem(code=ErrorCode.LIMIT_EXCEEDED, path=path, message=message)


def _nested_lists(step: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Give the raw step lists inside a raw step with their field paths."""
    for key in ("then", "else", "do", "default"):
        yield key, step.get(key)
    for key in ("cases", "branches"):
        entries = step.get(key)
        for index, entry in enumerate(entries if isinstance(entries, list) else ()):
            if isinstance(entry, dict):
                yield f"{key}[{index}].do", entry.get("do")


def _measure(steps: Any, depth: int) -> tuple[int, int]:
    """Count the steps of raw data and their depth; stops counting just above the limit."""
    if not isinstance(steps, list):
        return 0, depth - 1
    count, deepest = 0, depth
    for step in steps:
        if not isinstance(step, dict):
            continue
        count += 1
        if depth > MAX_DEPTH:
            continue
        for _, nested in _nested_lists(step):
            inner, reached = _measure(nested, depth + 1)
            count += inner
            deepest = max(deepest, reached)
    return count, deepest


def _unknown_types(steps: Any, path: str, specs: Mapping[str, ActionSpec] | None) -> list[Problem]:
    if specs is None or not isinstance(steps, list):
        return []
    problems: list[Problem] = []
    for index, step in enumerate(steps):
        if not isinstance(step, dict):
            continue
        kind = step.get("type")
        here = f"{path}[{index}]"
        if kind in _PENDING_KINDS or (
            isinstance(kind, str) and kind not in CONTROL_KINDS and kind not in specs
        ):
            near = get_close_matches(kind, [*CONTROL_KINDS, *specs], 1)
            known = ", ".join([*CONTROL_KINDS, *specs])
            hint = f"did you mean {near[0]!r}?" if near else f"known types: {known}"
            message = f"the step type {kind!r} is not known, or not interpreted by this version"
            problems.append(Problem(path=f"{here}.type", message=message, hint=hint))
            continue
        for field, nested in _nested_lists(step):
            problems += _unknown_types(nested, f"{here}.{field}", specs)
    return problems


def _from_pydantic(item: Mapping[str, Any], data: Any) -> Problem:
    """Turn one of Pydantic's errors into ours: its path without union tags, a hint where known."""
    path, model_keys = _path(item["loc"], data)
    message = str(item["msg"]).removeprefix("Value error, ")
    hint: str | None = None
    if item["type"] == "extra_forbidden":
        name = str(item["loc"][-1])
        message = f"the field {name!r} is not known here, or not interpreted by this version"
        near = get_close_matches(name, model_keys, 1)
        hint = f"did you mean {near[0]!r}?" if near else None
    elif item["type"] == "missing":
        message = f"the field {item['loc'][-1]!r} is required"
    return Problem(path=path, message=message, hint=hint)


def _path(location: tuple[int | str, ...], data: Any) -> tuple[str, list[str]]:
    path, here, kind = "", data, ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
            here = here[part] if isinstance(here, list) and part < len(here) else None
        elif part in _UNION_TAGS and not (isinstance(here, dict) and part in here):
            kind = part
        else:
            path += f".{part}" if path else part
            here = here.get(part) if isinstance(here, dict) else None
    model: type[Any] = (ActionStep if kind == "action" else CONTROL_KINDS.get(kind)) or Definition
    return path, [field.alias or name for name, field in model.model_fields.items()]


def _find_semantic_problems(
    definition: Definition, specs: Mapping[str, ActionSpec] | None
) -> list[Problem]:
    steps = list(definition.walk())
    problems = [
        *_duplicate_ids(steps),
        *_bad_schemas(definition),
        *_bad_parameters(steps, specs),
        *(
            problem
            for path, nested in definition.top_lists()
            for problem in find_order_problems(nested, path)
        ),
    ]
    # Types are only worth checking over a graph that holds together.
    if not problems:
        problems = find_expression_problems(definition, specs or {})
    return problems


def _duplicate_ids(steps: list[tuple[str, StepBase]]) -> list[Problem]:
    first: dict[str, str] = {}
    problems: list[Problem] = []
    for path, step in steps:
        if step.id in first:
            message = f"the step id {step.id!r} is taken by {first[step.id]}"
            hint = "ids are unique in the whole definition"
            problems.append(Problem(path=f"{path}.id", message=message, hint=hint))
        first.setdefault(step.id, path)
    return problems


def _bad_schemas(definition: Definition) -> list[Problem]:
    try:
        jsonschema_rs.meta.validate(definition.input)
        _validator(definition.input)
    except (
        jsonschema_rs.ValidationError,
        jsonschema_rs.ReferencingError,
        ValueError,
    ) as error:
        message = f"not a valid JSON Schema: {getattr(error, 'message', error)}"
        return [Problem(path="input", message=message)]
    if definition.input.get("type", "object") != "object":
        return [Problem(path="input.type", message="a run's input is always an object")]
    return []


def _bad_parameters(
    steps: list[tuple[str, StepBase]], specs: Mapping[str, ActionSpec] | None
) -> list[Problem]:
    return [
        problem
        for path, step in steps
        if specs is not None and isinstance(step, ActionStep) and step.type in specs
        for problem in _parameter_problems(path, step, specs[step.type])
    ]


def _parameter_problems(path: str, step: ActionStep, spec: ActionSpec) -> list[Problem]:
    """Check names of parameters, and the values that hold no expression."""
    known = spec.params.get("properties", {})
    problems: list[Problem] = []
    if spec.params.get("additionalProperties") is False:
        for name in step.with_:
            if name not in known:
                near = get_close_matches(name, known, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
                message = f"{step.type!r} has no parameter {name!r}"
                problems.append(Problem(path=f"{path}.with.{name}", message=message, hint=hint))
    problems += [
        Problem(path=f"{path}.with", message=f"{step.type!r} needs the parameter {name!r}")
        for name in spec.params.get("required", [])
        if name not in step.with_
    ]
    definitions = {key: spec.params[key] for key in ("$defs",) if key in spec.params}
    for name, value in step.with_.items():
        if name not in known or "{{" in json.dumps(value):
            continue
        try:
            check_input({**definitions, **known[name]}, value)
        except InputError as error:
            for problem in error.problems:
                place = ".".join(filter(None, (f"{path}.with.{name}", problem.path)))
                problems.append(problem.model_copy(update={"path": place, "code": _INVALID}))
    return problems


_INVALID = ErrorCode.DEFINITION_INVALID


def _validator(schema: dict[str, Any]) -> jsonschema_rs.Validator:
    """Build a validator that opens no file and no connection for a `$ref`, and no slow pattern."""
    return jsonschema_rs.validator_for(
        schema,
        validate_formats=True,
        offline=True,
        pattern_options=jsonschema_rs.RegexOptions(),
    )


def check_input(schema: dict[str, Any], value: Any) -> None:
    """Check a value against a JSON Schema (draft 2020-12, formats asserted).

    Raises InputError that lists every problem with its path.
    """
    validator = _validator(schema)
    problems = [
        Problem(
            code=ErrorCode.INVALID_INPUT,
            path=_instance_path(error.instance_path),
            message=error.message,
        )
        for error in validator.iter_errors(value)
    ]
    if problems:
        first = problems[0]
        where = f" at {first.path}" if first.path else ""
        raise InputError(f"the input is not valid{where}: {first.message}", problems=problems)


def _instance_path(parts: list[str | int]) -> str:
    path = ""
    for part in parts:
        path += f"[{part}]" if isinstance(part, int) else (f".{part}" if path else part)
    return path


def check_size(value: Any, limit: int, what: str) -> None:
    """Raise LimitError when a value's JSON is longer than `limit` bytes."""
    size = len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())
    if size > limit:
        raise LimitError(f"{what} has {size} bytes; the limit is {limit}")
