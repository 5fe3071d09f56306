"""Reading docker-compose.yml as compose does: merge keys, and variables from the environment."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
FILE = ROOT / "docker-compose.yml"
_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?:(?P<kind>:[-?])(?P<rest>[^}]*))?\}")


class MissingVariable(Exception):
    """A required variable is unset; compose refuses to start."""


def required_variables() -> set[str]:
    found = _VARIABLE.finditer(FILE.read_text())
    return {match["name"] for match in found if match["kind"] == ":?"}


def load(variables: Mapping[str, str]) -> dict[str, Any]:
    """Give the file's content with every variable replaced."""

    def replaced(match: re.Match[str]) -> str:
        value = variables.get(match["name"], "")
        if value or match["kind"] is None:
            return value
        if match["kind"] == ":?":
            raise MissingVariable(match["name"])
        return match["rest"]

    def walk(node: Any) -> Any:
        if isinstance(node, str):
            return _VARIABLE.sub(replaced, node)
        if isinstance(node, dict):
            return {key: walk(value) for key, value in node.items()}
        return [walk(value) for value in node] if isinstance(node, list) else node

    return walk(yaml.safe_load(FILE.read_text()))
