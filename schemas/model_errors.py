"""What Pydantic says of a definition, in our words: paths without its unions' tags, and hints."""

import copy
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from importlib import resources
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from schemas.definition import Definition, Goal
from schemas.errors import Problem
from schemas.policies import Debounce, Defaults, KeyedRuns, Limits, Retry, Singleton
from schemas.rules import Rule, refused
from schemas.step_base import ROUTES, STEPS, WORD, ErrorRoute
from schemas.steps import CONTROL_KINDS, ActionStep
from schemas.steps_flow import Branch, Case, Variant
from schemas.steps_wait import Escalate, Remind, Source, Window

_TAGS: Final = frozenset({*CONTROL_KINDS, "action", ROUTES, STEPS, WORD})
# The models inside a step or a definition, by the field that holds them.
_PARTS: Final[dict[str, type[BaseModel]]] = {
    "all": Source,
    "any": Source,
    "branches": Branch,
    "cases": Case,
    "concurrency": KeyedRuns,
    "debounce": Debounce,
    "defaults": Defaults,
    "escalate": Escalate,
    "goal": Goal,
    "limits": Limits,
    "on_error": ErrorRoute,
    "remind": Remind,
    "retry": Retry,
    "singleton": Singleton,
    "variants": Variant,
    "window": Window,
}
# Bounds that are limits of the language, by field: the others are only wrong values.
_BOUNDS: Final = {
    "branches": Rule.LIMIT_BRANCHES,
    "concurrency": Rule.LIMIT_BRANCHES,
    "max": Rule.LIMIT_ITERATIONS,
}
_Location = tuple[int | str, ...]


def find_model_problems(error: ValidationError, data: Any) -> list[Problem]:
    """Give one problem for each place that Pydantic refuses in `data`, with all it says of it."""
    found: dict[str, Problem] = {}
    for item in error.errors():
        problem = _problem(item, data)
        known = found.get(problem.path)
        if known is None or problem.rule == Rule.UNKNOWN_PROPERTY:
            found[problem.path] = problem
        elif problem.message not in known.message:
            message = f"{known.message}; or: {problem.message}"
            found[problem.path] = known.model_copy(update={"message": message})
    return list(found.values())


def without_faults(error: ValidationError, data: Any) -> Any:
    """Copy the data without the values that Pydantic refuses, so that the rest can be checked.

    A field whose name is a slip of a known one is renamed.
    """
    pruned = copy.deepcopy(data)
    for item in error.errors():
        parts, keys = _resolve(item["loc"], data)
        here = pruned
        for part in parts[:-1]:
            here = _inner(here, part)
        if parts and isinstance(here, dict):
            value = here.pop(parts[-1], None)
            near = _near(str(parts[-1]), keys) if item["type"] == "extra_forbidden" else None
            if near is not None:
                here.setdefault(near, value)
    return pruned


def _near(name: str, keys: Sequence[str]) -> str | None:
    return next(iter(get_close_matches(name, keys, 1)), None)


def _problem(item: Mapping[str, Any], data: Any) -> Problem:
    parts, keys = _resolve(item["loc"], data)
    path = _written(parts)
    kind, field = str(item["type"]), str(parts[-1]) if parts else ""
    if kind == "extra_forbidden":
        name = str(item["loc"][-1])
        near = _near(name, keys)
        return refused(
            Rule.UNKNOWN_PROPERTY,
            path,
            f"the field {name!r} is not known here, or not interpreted by this version",
            f"did you mean {near!r}?" if near else f"known: {', '.join(keys)}",
        )
    if kind == "missing":
        return refused(Rule.MISSING_PROPERTY, path, f"the field {item['loc'][-1]!r} is required")
    message = str(item["msg"]).removeprefix("Value error, ")
    if field == "timezone" and kind == "value_error":
        return refused(Rule.BAD_TIME_ZONE, path, message, _nearest_zone(str(item["input"])))
    if kind == "too_long":
        return refused(_BOUNDS.get(field, Rule.LIMIT_ENTRIES), path, message)
    if kind == "less_than_equal" and field in _BOUNDS:
        return refused(_BOUNDS[field], path, message)
    return refused(Rule.BAD_VALUE, path, message)


def _resolve(location: _Location, data: Any) -> tuple[list[int | str], list[str]]:
    """Give a location without tags, and the names of the fields that its model knows."""
    parts: list[int | str] = []
    here = data
    model: type[BaseModel] = Definition
    last = len(location) - 1
    for index, part in enumerate(location):
        if isinstance(part, str):
            inside = isinstance(here, dict) and part in here
            if not inside and part in _TAGS:
                kind = ActionStep if part == "action" else CONTROL_KINDS.get(part)
                model = kind or model
                continue
            # What is not there is a missing field, or the name of a type inside a union.
            if not inside and not (isinstance(here, dict) and index == last):
                continue
            if index != last:
                model = _PARTS.get(part, model)
        parts.append(part)
        here = _inner(here, part)
    return parts, [field.alias or name for name, field in model.model_fields.items()]


def _inner(value: Any, part: int | str) -> Any:
    if isinstance(part, int):
        return value[part] if isinstance(value, list) and part < len(value) else None
    return value.get(part) if isinstance(value, dict) else None


def _written(parts: Sequence[int | str]) -> str:
    path = ""
    for part in parts:
        path += f"[{part}]" if isinstance(part, int) else (f".{part}" if path else part)
    return path


@cache
def _zones() -> tuple[str, ...]:
    text = resources.files("tzdata").joinpath("zones").read_text(encoding="utf-8")
    return tuple(text.split())


def _nearest_zone(name: str) -> str:
    """Name the zone nearest to a wrong name, by the whole of it or by its city."""
    wanted = name.strip().replace(" ", "_").lower()
    by_lower = {zone.lower(): zone for zone in _zones()}
    cities = {zone.rpartition("/")[2]: zone for zone in by_lower}
    near = get_close_matches(wanted, by_lower, 1, 0.75)
    if not near:
        city = get_close_matches(wanted.rpartition("/")[2], cities, 1, 0.75)
        near = [cities[one] for one in city]
    example = by_lower[near[0]] if near else None
    return f"did you mean {example!r}?" if example else "an IANA name, such as 'Europe/Berlin'"
