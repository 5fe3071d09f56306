"""`sojourn audit`: who did what, and whether anybody has changed the record of it."""

import asyncio
import json
import sys
from typing import Annotated, Any

import typer

from terminal import AsJson, environment, err, out, told

app = typer.Typer()
audit = typer.Typer(help="Who did what, and proof that the record of it stands.")
app.add_typer(audit, name="audit")


@audit.command("list")
def list_entries(
    actor: Annotated[str | None, typer.Option(help="Who: key:… or user:….")] = None,
    action: Annotated[
        str | None, typer.Option(help="What: run.start, or all that begin so: run.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="To what: an id or a name.")] = None,
    since: Annotated[
        str | None, typer.Option("--from", help="A moment: 2026-01-31T09:00:00Z.")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", help="A moment.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Entries, the newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Print entries over the API, the newest first."""
    from remote import Remote

    wanted = {"actor": actor, "action": action, "target": target, "from": since, "to": until}
    with told():
        for entry in Remote.found().pages("/audit", limit, **wanted):
            sys.stdout.write((json.dumps(entry) if as_json else _shown(entry)) + "\n")


def _shown(entry: dict[str, Any]) -> str:
    return f"{entry['at']}  {entry['actor']}  {entry['action']}  {entry['target']}"


@audit.command()
def verify(
    workspace: Annotated[
        str | None, typer.Option(help="One workspace; without it all that have seals.")
    ] = None,
    head: Annotated[
        str | None, typer.Option(help="A digest kept elsewhere that must be among the seals.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compute every seal of the audit anew and compare; exits with 1 where one is broken.

    Works on the database with the settings of the environment.
    """
    from db import audit_seals

    settings = environment()

    async def run() -> list[audit_seals.Verdict]:
        database = settings.database()
        try:
            names = [workspace] if workspace else await audit_seals.workspaces(database)
            return [await audit_seals.verify(database, name, head=head) for name in names]
        finally:
            await database.close()

    with told():
        verdicts = asyncio.run(run())
    broken = False
    if not verdicts and not as_json:
        out.print("nothing is sealed yet: the API seals every five minutes")
    for each in verdicts:
        broken = broken or bool(each.faults)
        if as_json:
            sys.stdout.write(json.dumps(vars(each)) + "\n")
            continue
        out.print(
            f"{each.workspace}: {each.seals} seals over {each.entries} entries,"
            f" {each.pruned} pruned, {each.unsealed} entries not sealed yet; head {each.head}"
        )
        for fault in each.faults:
            err.print(f"{each.workspace}: {fault}")
    if head is not None and not any(each.known for each in verdicts):
        err.print(f"no seal has the digest {head}")
        broken = True
    if broken:
        raise typer.Exit(1)
