"""Expressions in a definition: which strings hold `{{ CEL }}`, and what they give over a scope.

Pure functions: the interpreter, the checks at publish and the tests call the same ones.
"""

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from schemas import cel
from schemas.errors import ExpressionError
from schemas.markers import marker, refuse_markers, secret_named

Reference = tuple[str, ...]
_QUOTES = "\"'"


@dataclass(frozen=True, slots=True)
class Template:
    """A string cut into literal texts and `(offset, source)` expressions."""

    parts: tuple[str | tuple[int, str], ...]

    @property
    def sources(self) -> tuple[tuple[int, str], ...]:
        """The expressions with their offsets in the string."""
        return tuple(part for part in self.parts if isinstance(part, tuple))

    @property
    def single(self) -> str | None:
        """The expression, when the string is nothing but one: its value keeps its type."""
        if len(self.parts) == 1 and isinstance(self.parts[0], tuple):
            return self.parts[0][1]
        return None


@lru_cache(maxsize=4096)
def parse_template(text: str) -> Template:
    """Cut `Dear {{ input.name }},` into its parts.

    Raises ExpressionError where `{{` is not closed.
    """
    parts: list[str | tuple[int, str]] = []
    start = 0
    while (opening := text.find("{{", start)) >= 0:
        if opening > start:
            parts.append(text[start:opening])
        end = _closing(text, opening + 2)
        source = text[opening + 2 : end]
        lead = len(source) - len(source.lstrip())
        parts.append((opening + 2 + lead, source.strip()))
        start = end + 2
    if start < len(text):
        parts.append(text[start:])
    return Template(tuple(parts))


def _closing(text: str, start: int) -> int:
    """Find the `}}` that ends an expression, past strings and map literals inside it."""
    depth, index = 0, start
    while index < len(text):
        char = text[index]
        if char in _QUOTES:
            index = _end_of_string(text, index)
        elif char == "{":
            depth += 1
        elif char == "}":
            if depth == 0 and text.startswith("}}", index):
                return index
            depth -= 1
        index += 1
    raise ExpressionError(
        "'{{' is not closed", offset=start - 2, hint="close the expression with '}}'"
    )


def _end_of_string(text: str, start: int) -> int:
    quote, index = text[start], start + 1
    while index < len(text) and text[index] != quote:
        index += 2 if text[index] == "\\" else 1
    return index


def is_template(value: Any) -> bool:
    """True for a string that holds an expression."""
    return isinstance(value, str) and "{{" in value


def templates(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Give `(path, text)` of every string with an expression inside a value, depth first."""
    if is_template(value):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from templates(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from templates(item, f"{path}[{index}]")


def references(value: Any) -> Iterator[Reference]:
    """Give the variables that the expressions inside a value read, as static chains."""
    for _, text in templates(value):
        for _, source in parse_template(text).sources:
            yield from expression_references(source)


def expression_references(source: str) -> Iterable[Reference]:
    """Give the variables that one expression reads, sorted."""
    return sorted(cel.compile(source).references)


def evaluate(source: str, variables: Mapping[str, Any]) -> Any:
    """Evaluate one CEL expression over JSON-like variables; gives CEL values.

    `run.now` and `run.started_at` may be RFC 3339 texts: they are timestamps to the expression.
    Raises ExpressionError.
    """
    return cel.compile(source).evaluate(_with_timestamps(variables))


def _with_timestamps(variables: Mapping[str, Any]) -> Mapping[str, Any]:
    run = variables.get("run")
    if not isinstance(run, Mapping):
        return variables
    revived = {
        key: datetime.fromisoformat(value)
        for key in ("now", "started_at")
        if isinstance(value := run.get(key), str)
    }
    return {**variables, "run": {**run, **revived}} if revived else variables


def render(value: Any, variables: Mapping[str, Any]) -> Any:
    """Replace every `{{ CEL }}` inside a value; the result is plain JSON data.

    A string that is one expression keeps the type of its value; inside text a value becomes
    text. `secrets.NAME` alone becomes a marker, see `schemas.markers`. Raises ExpressionError.
    """
    if isinstance(value, str):
        return _render_text(value, variables) if "{{" in value else value
    if isinstance(value, Mapping):
        return {key: render(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [render(item, variables) for item in value]
    return value


def _render_text(text: str, variables: Mapping[str, Any]) -> Any:
    template = parse_template(text)
    if (source := template.single) is not None:
        return _marker(source, variables) or plain(evaluate(source, variables))
    return "".join(
        part
        if isinstance(part, str)
        else _marker(part[1], variables) or as_text(evaluate(part[1], variables))
        for part in template.parts
    )


def _marker(source: str, variables: Mapping[str, Any]) -> str | None:
    """Give the marker of a bare `secrets.NAME`; CEL itself never sees a secret or a marker.

    A loop may call its items `secrets`: those are ordinary values.
    """
    name = secret_named(source)
    return None if name is None or "secrets" in variables else marker(name)


def plain(value: Any) -> Any:
    """Turn a CEL value into JSON data: timestamps as RFC 3339, durations as `90s`.

    Raises ExpressionError for what has no JSON form, and for a text that could be a marker.
    """
    if isinstance(value, str):
        return refuse_markers(value)
    if isinstance(value, Mapping):
        return {_key(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g}s"
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return int(value)
    # Whatever else a value can be (a CEL type, say) has no JSON form.
    raise ExpressionError(f"a value of type {type(value).__name__} cannot be kept")


def _key(key: Any) -> str:
    return refuse_markers(key) if isinstance(key, str) else as_text(key)


def as_text(value: Any) -> str:
    """Write a value inside text: null as nothing, booleans as in CEL, lists and maps as JSON."""
    value = plain(value)
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def prune(value: Any, paths: Iterable[Reference]) -> Any:
    """Copy of a value that holds only what the paths below it name; an empty path keeps all."""
    paths = list(paths)
    if not isinstance(value, Mapping) or any(not path for path in paths):
        return value
    heads: dict[str, list[Reference]] = {}
    for path in paths:
        heads.setdefault(path[0], []).append(path[1:])
    return {key: prune(value[key], tails) for key, tails in heads.items() if key in value}
