"""The raw shape of a definition, before any model reads it: limits and types of steps."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from schemas.actions import ActionSpec
from schemas.definition import MAX_DEPTH, MAX_STEPS
from schemas.errors import Problem
from schemas.rules import Rule, refused
from schemas.steps import CONTROL_KINDS

_TOP_LISTS = ("steps", "on_failure", "on_goal")
_LISTS = ("then", "else", "do", "default", "compensate", "on_timeout")
_ENTRIES = ("cases", "branches", "variants", "tools")
_PARTS = ("remind", "escalate")


def top_lists(data: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Give the raw step lists of a raw definition with their paths."""
    for name in _TOP_LISTS:
        if name in data:
            yield name, data[name]


def nested_lists(step: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Give the raw step lists inside a raw step with their field paths."""
    for key in _LISTS:
        yield key, step.get(key)
    for key in _PARTS:
        part = step.get(key)
        if isinstance(part, dict):
            yield f"{key}.do", part.get("do")
    for key in _ENTRIES:
        yield from _entries(key, step.get(key))
    fallback = step.get("on_error")
    if isinstance(fallback, list) and fallback:
        # As in `step_base`: the first entry says whether these are steps or routes.
        if isinstance(fallback[0], dict) and "type" not in fallback[0]:
            yield from _entries("on_error", fallback)
        else:
            yield "on_error", fallback


def _entries(key: str, entries: Any) -> Iterator[tuple[str, Any]]:
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        if isinstance(entry, dict):
            yield f"{key}[{index}].do", entry.get("do")


def shape_limits(data: Any) -> list[Problem]:
    """Refuse what is too deep or too long before Pydantic walks it."""
    if not isinstance(data, dict):
        message = "a definition is a mapping with 'name' and 'steps'"
        return [refused(Rule.BAD_DOCUMENT, "", message)]
    measured = [(path, *_measure(steps, 1)) for path, steps in top_lists(data)]
    problems: list[Problem] = []
    count = sum(steps for _, steps, _ in measured)
    if count > MAX_STEPS:
        message = f"{count} steps; the limit is {MAX_STEPS}"
        hint = "move a part of them into a definition of its own, run by a 'workflow' step"
        problems.append(refused(Rule.LIMIT_STEPS, "steps", message, hint))
    for path, _, deepest in measured:
        if deepest > MAX_DEPTH:
            message = f"steps nested more than {MAX_DEPTH} deep; the limit is {MAX_DEPTH}"
            problems.append(refused(Rule.LIMIT_DEPTH, path, message))
    return problems


def _measure(steps: Any, depth: int) -> tuple[int, int]:
    """Count the steps of raw data and their depth; goes no deeper than just above the limit."""
    if not isinstance(steps, list):
        return 0, depth - 1
    count, deepest = 0, depth if steps else depth - 1
    for step in steps:
        if not isinstance(step, dict):
            continue
        count += 1
        if depth > MAX_DEPTH:
            continue
        for _, nested in nested_lists(step):
            inner, reached = _measure(nested, depth + 1)
            count += inner
            deepest = max(deepest, reached)
    return count, deepest


def unknown_types(data: Mapping[str, Any], specs: Mapping[str, ActionSpec]) -> list[Problem]:
    """Find the steps whose type is neither a control step nor an action."""
    return [
        problem for path, steps in top_lists(data) for problem in _unknown_types(steps, path, specs)
    ]


def _unknown_types(steps: Any, path: str, specs: Mapping[str, ActionSpec]) -> Iterator[Problem]:
    for index, step in enumerate(steps if isinstance(steps, list) else ()):
        if not isinstance(step, dict):
            continue
        kind = step.get("type")
        here = f"{path}[{index}]"
        if isinstance(kind, str) and kind not in CONTROL_KINDS and kind not in specs:
            names = [*CONTROL_KINDS, *specs]
            near = get_close_matches(kind, names, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known types: {', '.join(names)}"
            message = f"the step type {kind!r} is not known"
            yield refused(Rule.UNKNOWN_TYPE, f"{here}.type", message, hint)
        for field, nested in nested_lists(step):
            yield from _unknown_types(nested, f"{here}.{field}", specs)
