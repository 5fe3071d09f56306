"""The command `sojourn`."""

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

import cli_logs
import cli_operators
import cli_secrets
import cli_testing
from remote import Remote
from schemas.errors import Problem, Severity, SojournError

app = typer.Typer(
    name="sojourn",
    help="Durable workflows written as data.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(cli_testing.app)
app.add_typer(cli_operators.app)
app.add_typer(cli_logs.app)
app.add_typer(cli_secrets.app)
_out = Console(highlight=False, soft_wrap=True)
_err = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)

DefinitionFile = Annotated[
    Path, typer.Argument(help="A definition in YAML or JSON.", exists=True, dir_okay=False)
]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="The run's id.")]


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Turn our errors into a message, a hint and exit code 1."""
    try:
        yield
    except SojournError as error:
        _err.print(f"{error.code}: {error.message}")
        _print_problems(error.problems)
        if error.hint:
            _err.print(f"hint: {error.hint}")
        raise typer.Exit(1) from None


def _print_problems(problems: list[Problem], file: Path | None = None) -> None:
    for problem in problems:
        at = "" if file is None else str(file)
        if problem.position is not None:
            at += f":{problem.position.line}:{problem.position.column}"
        where = " ".join(part for part in (at.lstrip(":"), problem.path) if part)
        hint = f" ({problem.hint})" if problem.hint else ""
        rule = f" [{problem.rule}]" if problem.rule else ""
        word = "warning: " if problem.severity is Severity.WARNING else ""
        told = f"{word}{problem.message}{hint}{rule}"
        _err.print(f"{where}: {told}" if where else told)


@app.command()
def dev(
    home: Annotated[Path, typer.Option(help="Where data, logs and mails are kept.")] = Path(
        ".sojourn"
    ),
    port: Annotated[int, typer.Option(min=1, max=65535, help="Wanted port of the API.")] = 8000,
    demo: Annotated[
        bool, typer.Option("--demo", help="Submit the lead form and show the run.")
    ] = False,
    timescale: Annotated[
        float | None,
        typer.Option(min=0.001, help="Divides every timer; with --demo 86400: a day is a second."),
    ] = None,
    log_level: Annotated[
        str | None, typer.Option(help="debug, info, warning or error; with --demo warning.")
    ] = None,
) -> None:
    """Start PostgreSQL, Temporal, worker, API and a mailbox on this machine."""
    try:
        from dev.command import run
        from dev.stack import Options
    except ModuleNotFoundError as error:
        _err.print(f"'sojourn dev' needs the development group, and {error.name} is not installed")
        _err.print("hint: in the repository run 'make dev' or 'uv sync'")
        raise typer.Exit(1) from None
    scale = timescale if timescale is not None else 86400.0 if demo else 1.0
    level = log_level or ("warning" if demo else "info")
    if level not in ("debug", "info", "warning", "error"):
        raise typer.BadParameter(f"{level!r} is no level", param_hint="--log-level")
    run(Options(home=home, port=port, timescale=scale, log_level=level), demo=demo)


@app.command()
def worker() -> None:
    """Run a worker with the settings of the environment."""
    import worker as process

    process.main()


@app.command()
def api() -> None:
    """Run the API with the settings of the environment."""
    import server

    server.main()


@app.command()
def migrate(
    namespace: Annotated[
        bool,
        typer.Option(help="Also register the search attributes in Temporal's namespace."),
    ] = True,
) -> None:
    """Bring the database, and Temporal's namespace, to what this version needs."""
    from db.migrate import upgrade
    from process import leave
    from settings import SettingsError, load_settings, reveal
    from workflows.setup import connect, prepare_namespace

    try:
        settings = load_settings()
    except SettingsError as error:
        _err.print(str(error))
        raise typer.Exit(1) from None

    async def run() -> str:
        revision = await upgrade(settings.database_url.get_secret_value())
        if namespace:
            client = await connect(
                settings.temporal_address,
                settings.temporal_namespace,
                api_key=reveal(settings.temporal_api_key),
                tls=settings.tls,
            )
            await prepare_namespace(client)
        return revision

    with _plain_errors():
        try:
            _out.print(f"the database is at revision {asyncio.run(run())}")
        except RuntimeError as error:
            _err.print(f"Temporal does not answer at {settings.temporal_address}: {error}")
            leave(1)
    leave(0)


@app.command()
def validate(file: DefinitionFile) -> None:
    """Say everything that is wrong with a definition; nothing is sent anywhere.

    Warnings are printed, too; they leave the exit code at 0.
    """
    from activities.registry import load
    from schemas.validation import check

    checked = check(file.read_text(encoding="utf-8"), load())
    _print_problems(checked.problems, file)
    if checked.errors:
        raise typer.Exit(1)
    count = len(checked.warnings)
    told = f", with {count} warning{'s' if count > 1 else ''}" if count else ""
    _out.print(f"{file} is valid{told}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of the language, for editors."""
    from activities.registry import load
    from schemas.language import language_schema

    sys.stdout.write(json.dumps(language_schema(load()), indent=2) + "\n")


@app.command()
def publish(file: DefinitionFile) -> None:
    """Store a definition, or a new version of it, and publish it."""
    from schemas.document import parse_document

    source = file.read_text(encoding="utf-8")
    with _plain_errors():
        name = str((parse_document(source).data or {}).get("name", ""))
        remote = Remote.found()
        try:
            stored = remote.post_source("/definitions", source, publish="true")
        except SojournError as error:
            if error.code not in ("CONFLICT", "VERSION_CONFLICT"):
                raise
            path = f"/definitions/{name}/versions"
            stored = remote.post_source(path, source, publish="true")
    _print_problems([Problem.model_validate(each) for each in stored.get("warnings", [])], file)
    _out.print(f"{stored['name']} version {stored['version']} is {stored['status']}")


@app.command()
def start(
    definition: Annotated[str, typer.Argument(help="The definition's name.")],
    given: Annotated[
        str, typer.Option("--input", help="Input as JSON, or @FILE with JSON in it.")
    ] = "{}",
    version: Annotated[
        int | None, typer.Option(help="A version other than the active one.")
    ] = None,
) -> None:
    """Start a run and print its id."""
    text = Path(given[1:]).read_text(encoding="utf-8") if given.startswith("@") else given
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise typer.BadParameter(f"not JSON: {error}", param_hint="--input") from None
    body: dict[str, Any] = {"input": value}
    if version is not None:
        body["version"] = version
    with _plain_errors():
        run = Remote.found().post(f"/definitions/{definition}/runs", body)
    _out.print(run["id"])


@app.command()
def runs(
    definition: Annotated[str | None, typer.Option(help="Only of this definition.")] = None,
    status: Annotated[str | None, typer.Option(help="Only with this status.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 20,
) -> None:
    """List runs, newest first."""
    with _plain_errors():
        page = Remote.found().get("/runs", definition=definition, status=status, limit=limit)
    rows = [("run", "definition", "version", "status", "created", "waits for")]
    for run in page["items"]:
        created = datetime.fromisoformat(run["created_at"]).astimezone()
        rows.append(
            (
                run["id"],
                run["definition"],
                str(run["version"]),
                run["status"],
                f"{created:%Y-%m-%d %H:%M:%S}",
                run["waiting_for"] or "",
            )
        )
    # Not a rich table: that one cuts ids off where the terminal is narrow, or is none.
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


@app.command()
def show(run: RunId) -> None:
    """Print a run and its steps as JSON."""
    with _plain_errors():
        remote = Remote.found()
        found = remote.get(f"/runs/{run}")
        found["steps"] = remote.get(f"/runs/{run}/steps")
    sys.stdout.write(json.dumps(found, indent=2) + "\n")


def _steer(run: str, action: str) -> None:
    with _plain_errors():
        answer = Remote.found().post(f"/runs/{run}/{action}")
    _out.print(f"{answer['id']} is {answer['status']}")


@app.command()
def pause(run: RunId) -> None:
    """Let a run start nothing new; what runs goes on."""
    _steer(run, "pause")


@app.command()
def resume(run: RunId) -> None:
    """Let a paused run go on."""
    _steer(run, "resume")


@app.command()
def cancel(run: RunId) -> None:
    """Ask a run to end."""
    _steer(run, "cancel")


@app.command()
def version() -> None:
    """Print the version."""
    _out.print(f"sojourn {installed_version('sojourn')}")


if __name__ == "__main__":
    app()
