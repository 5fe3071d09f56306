"""Commands about builds of workers; they speak to Temporal, not to the API."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer
from rich.table import Table
from temporalio.client import Client

from process import leave
from terminal import AsJson, environment, err, out, print_json, told

app = typer.Typer()
deployment = typer.Typer(
    help="Which build of the workers gets the runs, where SOJOURN_DEPLOYMENT_NAME is set.",
    no_args_is_help=True,
)
app.add_typer(deployment, name="deployment")
T = TypeVar("T")


def _ask(question: Callable[[Client, str], Awaitable[T]]) -> T:
    settings = environment()
    name = settings.deployment_name
    if name is None:
        err.print("SOJOURN_DEPLOYMENT_NAME is not set: workers are not versioned here")
        raise typer.Exit(1)

    async def run() -> T:
        return await question(await settings.connect(), name)

    with told():
        try:
            return asyncio.run(run())
        except RuntimeError as error:
            err.print(f"Temporal does not answer at {settings.temporal_address}: {error}")
            leave(1)


@deployment.command()
def show(as_json: AsJson = False) -> None:
    """List the builds that workers polled with, newest first."""
    from workflows.deployment import builds

    found = _ask(builds)
    if as_json:
        print_json(
            [
                {
                    "build": build.build,
                    "current": build.current,
                    "drained": build.drained,
                    "created_at": build.created_at.isoformat() + "Z",
                }
                for build in found
            ]
        )
        return
    table = Table("build", "state", "since")
    for build in found:
        state = "current" if build.current else "drained" if build.drained else ""
        table.add_row(build.build, state, f"{build.created_at:%Y-%m-%d %H:%M}")
    out.print(table)


@deployment.command("set-current")
def set_current(
    build: Annotated[str, typer.Argument(help="The workers' SOJOURN_DEPLOYMENT_BUILD.")],
) -> None:
    """Give new runs, and open ones at their next step, to a build."""
    from workflows.deployment import make_current

    _ask(lambda client, name: make_current(client, name, build))
    out.print(f"{build} is current")
