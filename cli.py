"""The command `sojourn`."""

import asyncio
import gc
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated

import typer

import cli_audit
import cli_bulk
import cli_bundles
import cli_chaos
import cli_dead_letters
import cli_deployment
import cli_keys
import cli_logs
import cli_operators
import cli_runs
import cli_secrets
import cli_testing
import cli_triggers
from remote import Remote
from schemas.errors import Problem, SojournError
from terminal import AsJson, environment, err, out, print_json, print_problems, told

app = typer.Typer(
    name="sojourn",
    help="Durable workflows written as data.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for _module in (
    cli_testing,
    cli_runs,
    cli_chaos,
    cli_operators,
    cli_dead_letters,
    cli_bulk,
    cli_logs,
    cli_triggers,
    cli_bundles,
    cli_secrets,
    cli_keys,
    cli_audit,
    cli_deployment,
):
    app.add_typer(_module.app)

DefinitionFile = Annotated[
    Path, typer.Argument(help="A definition in YAML or JSON.", exists=True, dir_okay=False)
]


@contextmanager
def importing() -> Iterator[None]:
    """Import much at once without looking for garbage, which takes a quarter of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


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
        with importing():
            from dev.command import run
            from dev.stack import Options
    except ModuleNotFoundError as error:
        err.print(f"'sojourn dev' needs the development group, and {error.name} is not installed")
        err.print("hint: in the repository run 'make dev' or 'uv sync'")
        raise typer.Exit(1) from None
    scale = timescale if timescale is not None else 86400.0 if demo else 1.0
    level = log_level or ("warning" if demo else "info")
    if level not in ("debug", "info", "warning", "error"):
        raise typer.BadParameter(f"{level!r} is no level", param_hint="--log-level")
    run(Options(home=home, port=port, timescale=scale, log_level=level), demo=demo)


@app.command()
def worker() -> None:
    """Run a worker with the settings of the environment."""
    with importing():
        import worker as process
    process.main()


@app.command()
def api() -> None:
    """Run the API with the settings of the environment."""
    with importing():
        import server
    server.main()


@app.command("mail-poller")
def mail_poller() -> None:
    """Read the mailboxes for replies and bounces, with the settings of the environment."""
    with importing():
        import worker as process
    process.poller_main()


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
    from workflows.setup import prepare_namespace

    settings = environment()

    async def run() -> str:
        revision = await upgrade(settings.database_url.get_secret_value())
        if namespace:
            await prepare_namespace(await settings.connect())
        return revision

    with told():
        try:
            out.print(f"the database is at revision {asyncio.run(run())}")
        except RuntimeError as error:
            err.print(f"Temporal does not answer at {settings.temporal_address}: {error}")
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
    print_problems(checked.problems, file)
    if checked.errors:
        raise typer.Exit(1)
    count = len(checked.warnings)
    told = f", with {count} warning{'s' if count > 1 else ''}" if count else ""
    out.print(f"{file} is valid{told}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of the language, for editors."""
    from activities.registry import load
    from schemas.language import language_schema

    sys.stdout.write(json.dumps(language_schema(load()), indent=2) + "\n")


@app.command()
def publish(file: DefinitionFile, as_json: AsJson = False) -> None:
    """Store a definition, or a new version of it, and publish it."""
    from schemas.document import parse_document

    source = file.read_text(encoding="utf-8")
    with told(file):
        data = parse_document(source).data
        name = str(data.get("name", "")) if isinstance(data, dict) else ""
        remote = Remote.found()
        try:
            stored = remote.post_source("/definitions", source, publish="true")
        except SojournError as error:
            if error.code not in ("CONFLICT", "VERSION_CONFLICT"):
                raise
            # The name exists: this is its next version.
            path = f"/definitions/{name}/versions"
            stored = remote.post_source(path, source, publish="true")
    print_problems([Problem.model_validate(each) for each in stored.get("warnings", [])], file)
    if as_json:
        print_json(stored)
        return
    out.print(f"{stored['name']} version {stored['version']} is {stored['status']}")


@app.command()
def version() -> None:
    """Print the version."""
    out.print(f"sojourn {installed_version('sojourn')}")


if __name__ == "__main__":
    app()
