"""docs/cli.md names every command, and no other."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from cli import app

TEXT = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()


def commands(found: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Every command that is shown, as it is typed."""
    inner = getattr(found, "commands", {})
    if not inner or found.invoke_without_command:
        yield " ".join(path)
    for name, command in inner.items():
        if not command.hidden:
            yield from commands(command, (*path, name))


def test_every_command_is_described() -> None:
    known = set(commands(typer.main.get_command(app)))
    rows = re.findall(r"^\| `sojourn ([^`]+)` \|", TEXT, re.MULTILINE)
    described = {" ".join(re.match(r"[a-z-]+( [a-z-]+)*", row)[0].split()) for row in rows}  # pyright: ignore[reportOptionalSubscript]
    assert described == known
