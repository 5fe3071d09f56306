"""Nodes of visual builders as steps of the language: their types, and what they are set to."""

import json
import re
from collections.abc import Collection
from difflib import get_close_matches
from typing import Any, Final

from schemas.durations import parse_duration
from schemas.errors import Problem
from schemas.rules import Rule, refused
from schemas.steps import CONTROL_KINDS

# What builders call the kinds and actions of the language.
_NAMES: Final = {
    "api": "http",
    "api_call": "http",
    "approve": "approval",
    "assign": "set",
    "branch": "condition",
    "case": "switch",
    "decision": "condition",
    "email_send": "email",
    "error": "fail",
    "exit": "stop",
    "gpt": "ai",
    "http_request": "http",
    "human_task": "approval",
    "if": "condition",
    "if_else": "condition",
    "lead_status": "lead",
    "llm": "ai",
    "mail": "email",
    "prompt": "ai",
    "python": "code",
    "request": "http",
    "router": "switch",
    "script": "code",
    "send_email": "email",
    "set_variable": "set",
    "sleep": "delay",
    "sub_workflow": "workflow",
    "subflow": "workflow",
    "timer": "delay",
    "update_lead": "lead",
    "wait_for_event": "wait",
    "webhook_call": "http",
}
_STRUCTURE: Final = frozenset(
    {"trigger", "start", "begin", "entry", "end", "finish", "note", "comment", "sticky_note"}
)
# Their bodies are lists of steps, for which a graph has no place.
_BODIES: Final = frozenset({"for_each", "repeat", "parallel", "split"})
_PARAMETERS: Final[dict[str, dict[str, str]]] = {
    "email": {"recipient": "to", "body": "text", "message": "text", "content": "text"},
    "http": {"verb": "method", "address": "url"},
    "ai": {"message": "prompt", "question": "prompt", "system_prompt": "system"},
}
_OPERATORS: Final = {
    "==": "==", "=": "==", "eq": "==", "equals": "==", "is": "==",
    "!=": "!=", "ne": "!=", "not_equals": "!=", "is_not": "!=",
    ">": ">", "gt": ">", "greater_than": ">",
    ">=": ">=", "gte": ">=", "at_least": ">=",
    "<": "<", "lt": "<", "less_than": "<",
    "<=": "<=", "lte": "<=", "at_most": "<=",
}  # fmt: skip
_TEXT_TESTS: Final = {
    "contains": "contains", "starts_with": "startsWith", "ends_with": "endsWith",
}  # fmt: skip
_UNITS: Final = {"weeks": "w", "days": "d", "hours": "h", "minutes": "m", "seconds": "s"}
_SCOPES: Final = ("input", "steps", "vars", "run", "lead")
_FIELD = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$")


def kind_of(type_: str) -> str | None:
    """Give the language's name of a builder's node type; None for nodes that are no steps."""
    name = re.sub(r"[\s-]+", "_", type_.strip().lower())
    if name in _STRUCTURE or name.endswith("_trigger"):
        return None
    return _NAMES.get(name, name)


def fields_of(
    type_: str, config: dict[str, Any], path: str, actions: Collection[str]
) -> tuple[dict[str, Any], list[Problem]]:
    """Give a step's fields beside its id, and what is wrong with the node at `path`."""
    kind = kind_of(type_) or type_
    here = f"{path}.config"
    if kind == "condition":
        return _condition(config, here)
    if kind == "switch":
        on = _expression(config, "on")
        found = [] if on else [refused(Rule.MISSING_PROPERTY, here, "a switch needs 'on'")]
        return {"type": "switch", "on": on or "input.value"}, found
    if kind == "delay" or (kind == "wait" and not {"event", "signal", "any", "all"} & set(config)):
        return _delay(config, here)
    if kind == "set":
        return {"type": "set", "vars": config.get("vars", config)}, []
    if kind in _BODIES:
        message = f"a {kind} has steps inside, for which a graph has no place"
        hint = "write it in the definition"
        return {"type": kind, **config}, [refused(Rule.UNKNOWN_TYPE, f"{path}.type", message, hint)]
    if kind in CONTROL_KINDS:
        return {"type": kind, **config}, []
    problems: list[Problem] = []
    if kind not in actions:
        near = get_close_matches(kind, [*CONTROL_KINDS, *actions], 1)
        hint = f"did you mean {near[0]!r}?" if near else None
        message = f"there is no step or action {type_!r}"
        problems.append(refused(Rule.UNKNOWN_TYPE, f"{path}.type", message, hint))
    return _action(kind, config), problems


def _action(kind: str, config: dict[str, Any]) -> dict[str, Any]:
    if isinstance(config.get("with"), dict):
        return {"type": kind, **config}
    names = _PARAMETERS.get(kind, {})
    given: dict[str, Any] = {}
    for name, value in config.items():
        known = names.get(name, name)
        if kind == "http" and name == "body" and isinstance(value, dict | list):
            known = "json"
        given[known] = value
    return {"type": kind, "with": given} if given else {"type": kind}


def _expression(config: dict[str, Any], *names: str) -> str | None:
    for name in (*names, "expression", "field"):
        text = config.get(name)
        if isinstance(text, str) and text.strip():
            inner = re.fullmatch(r"\s*\{\{(.*)\}\}\s*", text, re.DOTALL)
            text = inner[1].strip() if inner else text
            return _scoped(text) if name == "field" else text
    return None


def _scoped(field: str) -> str:
    return field if field.split(".")[0] in _SCOPES else f"input.{field}"


def _condition(config: dict[str, Any], path: str) -> tuple[dict[str, Any], list[Problem]]:
    if isinstance(config.get("check"), str):
        given = {"with": config["with"]} if config.get("with") else {}
        return {"type": "condition", "check": config["check"], **given}, []
    if "operator" in config:
        return _comparison(config, path)
    verdict = _expression(config, "if", "condition")
    if verdict is None:
        hint = "'if' with CEL, 'check', or 'field', 'operator' and 'value'"
        problem = refused(Rule.MISSING_PROPERTY, path, "a condition needs a verdict", hint)
        return {"type": "condition", "if": "false"}, [problem]
    return {"type": "condition", "if": verdict}, []


def _comparison(config: dict[str, Any], path: str) -> tuple[dict[str, Any], list[Problem]]:
    field, value = config.get("field"), json.dumps(config.get("value"), ensure_ascii=False)
    name = str(config["operator"]).strip().lower().replace(" ", "_")
    problems: list[Problem] = []
    if not isinstance(field, str) or not _FIELD.match(field):
        message = f"{field!r} is no field such as 'budget' or 'steps.call.output.status'"
        problems.append(refused(Rule.BAD_VALUE, f"{path}.field", message))
        return {"type": "condition", "if": "false"}, problems
    if name in _OPERATORS:
        return {"type": "condition", "if": f"{_scoped(field)} {_OPERATORS[name]} {value}"}, []
    if name in _TEXT_TESTS:
        return {"type": "condition", "if": f"{_scoped(field)}.{_TEXT_TESTS[name]}({value})"}, []
    near = get_close_matches(name, [*_OPERATORS, *_TEXT_TESTS], 1)
    hint = f"did you mean {near[0]!r}?" if near else None
    message = f"there is no operator {config['operator']!r}"
    problems.append(refused(Rule.BAD_VALUE, f"{path}.operator", message, hint))
    return {"type": "condition", "if": "false"}, problems


def _delay(config: dict[str, Any], path: str) -> tuple[dict[str, Any], list[Problem]]:
    if isinstance(config.get("until"), str):
        return {"type": "delay", "until": config["until"]}, []
    text = next((config[name] for name in ("for", "duration") if name in config), None)
    if isinstance(text, str):
        try:
            parse_duration(text)
        except ValueError as error:
            return {"type": "delay", "for": "0s"}, [refused(Rule.BAD_VALUE, path, str(error))]
        return {"type": "delay", "for": text}, []
    given = config
    if "unit" in config:
        unit = str(config["unit"]).lower()
        amount = config.get("amount", config.get("value"))
        given = {unit if unit.endswith("s") else f"{unit}s": amount}
    parts = [
        f"{number}{unit}"
        for name, unit in _UNITS.items()
        if isinstance(number := given.get(name), int) and number > 0
    ]
    if parts:
        return {"type": "delay", "for": "".join(parts)}, []
    message = "a delay needs 'for', 'until', or a number of days, hours, minutes or seconds"
    return {"type": "delay", "for": "0s"}, [refused(Rule.MISSING_PROPERTY, path, message)]
