"""How commands speak: errors and exit codes, tables, JSON, and input as people type it."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from schemas.errors import Problem, Severity, SojournError, UnavailableError

if TYPE_CHECKING:
    from remote import Remote
    from settings import Settings

out = Console(highlight=False, soft_wrap=True, markup=False)
err = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
# Where no terminal is, nothing is cut off: a program reads it.
_WIDE = 10_000
_STYLES = {
    "completed": "green",
    "published": "green",
    "create": "green",
    "failed": "red",
    "refuse": "red",
    "terminated": "red",
    "timed_out": "red",
    "cancelled": "yellow",
    "paused": "yellow",
    "update": "yellow",
    "waiting": "cyan",
    "running": "blue",
}


class Exit(IntEnum):
    """Exit codes; 2, for a wrong command line, is typer's own."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4
    AWAY = 5


_CODES = {
    "NOT_FOUND": Exit.NOT_FOUND,
    "DEFINITION_NOT_FOUND": Exit.NOT_FOUND,
    "CONFLICT": Exit.CONFLICT,
    "VERSION_CONFLICT": Exit.CONFLICT,
    "TEMPORAL_UNAVAILABLE": Exit.AWAY,
    "DATABASE_UNAVAILABLE": Exit.AWAY,
}

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="The run's id.")]
DefinitionName = Annotated[str, typer.Argument(metavar="DEFINITION", help="Its name.")]


def exit_code(error: SojournError) -> Exit:
    """Give the exit code of an error."""
    if isinstance(error, UnavailableError):
        return Exit.AWAY
    return _CODES.get(error.code, Exit.FAILED)


@contextmanager
def told(file: Path | None = None) -> Iterator[None]:
    """Turn our errors into a message, their places, a hint and an exit code."""
    try:
        yield
    except SojournError as error:
        err.print(f"{error.code}: {error.message}")
        print_problems(error.problems, file)
        if error.hint:
            err.print(f"hint: {error.hint}")
        raise typer.Exit(exit_code(error)) from None


@contextmanager
def api() -> "Iterator[Remote]":
    """Give the API, with its errors told."""
    from remote import Remote

    with told():
        yield Remote.found()


def environment() -> "Settings":
    """Give the settings of the environment, for commands that do not ask the API."""
    from settings import SettingsError, load_settings

    try:
        return load_settings()
    except SettingsError as error:
        err.print(str(error))
        raise typer.Exit(Exit.FAILED) from None


def print_problems(problems: Sequence[Problem], file: Path | None = None) -> None:
    """Print problems one a line, as editors read them."""
    for problem in problems:
        at = "" if file is None else str(file)
        if problem.position is not None:
            at += f":{problem.position.line}:{problem.position.column}"
        where = " ".join(part for part in (at.lstrip(":"), problem.path) if part)
        hint = f" ({problem.hint})" if problem.hint else ""
        rule = f" [{problem.rule}]" if problem.rule else ""
        word = "warning: " if problem.severity is Severity.WARNING else ""
        said = f"{word}{problem.message}{hint}{rule}"
        err.print(f"{where}: {said}" if where else said)


def print_json(value: Any) -> None:
    """Print JSON for programs."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table; its first column, an id or a name, is never cut off."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for index, name in enumerate(columns):
        table.add_column(name, no_wrap=index == 0, overflow="fold")
    for row in rows:
        cells = [_cell(value) for value in row]
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in cells))
    screen = Console(highlight=False)
    if screen.is_terminal:
        screen.print(table)
        return
    wide = Console(width=_WIDE, highlight=False, color_system=None, file=sys.stdout)
    with wide.capture() as captured:
        wide.print(table)
    for line in captured.get().splitlines():
        sys.stdout.write(line.rstrip() + "\n")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def moment(text: str | None) -> str:
    """Give a time of the API on the clock of this machine."""
    if text is None:
        return ""
    return f"{datetime.fromisoformat(text).astimezone():%Y-%m-%d %H:%M:%S}"


def read_json(text: str, option: str) -> Any:
    """Read JSON, or a file of it after @."""
    try:
        source = Path(text[1:]).read_text(encoding="utf-8") if text.startswith("@") else text
        return json.loads(source)
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
    except json.JSONDecodeError as error:
        raise typer.BadParameter(f"not JSON: {error}", param_hint=option) from None


def read_time(text: str, option: str) -> str:
    """Read a duration before now, such as 2d, or a time, and give it as the API takes it."""
    from schemas.durations import parse_duration

    try:
        return (datetime.now(UTC) - parse_duration(text)).isoformat()
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        message = f"{text!r} is neither a duration such as 2d nor a time"
        raise typer.BadParameter(message, param_hint=option) from None
    return found.astimezone().isoformat()


def read_data(file: Path) -> Any:
    """Read a file of YAML or JSON; tells its faults and leaves."""
    from schemas.document import parse_document

    with told(file):
        return parse_document(file.read_text(encoding="utf-8")).data


def leave(code: Exit) -> NoReturn:
    """End the command with an exit code."""
    raise typer.Exit(code)
