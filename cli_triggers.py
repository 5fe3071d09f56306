"""Commands about triggers: what starts runs of a definition by itself."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from terminal import (
    AsJson,
    DefinitionName,
    api,
    err,
    moment,
    out,
    print_json,
    print_table,
    read_data,
)

app = typer.Typer()
triggers = typer.Typer(
    help="What starts runs of a definition by itself: schedules, webhooks, events, forms.",
    no_args_is_help=True,
)
app.add_typer(triggers, name="triggers")

TriggerId = Annotated[str, typer.Argument(metavar="TRIGGER", help="The trigger's id.")]


@triggers.command("list")
def list_triggers(definition: DefinitionName, as_json: AsJson = False) -> None:
    """List the triggers of a definition."""
    with api() as remote:
        found = remote.pages(f"/definitions/{definition}/triggers", 10_000)
    if as_json:
        print_json(found)
        return
    print_table(
        ("trigger", "kind", "enabled", "what", "last fired", "next due", "last error"),
        [
            (
                one["id"],
                one["kind"],
                one["enabled"],
                _what(one),
                moment(one["last_fired_at"]),
                moment(one["next_due_at"]),
                one["last_error"],
            )
            for one in found
        ],
    )


def _what(one: dict[str, Any]) -> str:
    if one["kind"] == "schedule":
        when = one.get("cron") or f"every {one.get('every')}"
        return f"{when} {one.get('timezone', '')}{' (paused)' if one.get('paused') else ''}"
    if one["kind"] == "event":
        return f"{one['event']}{' where ' + one['where'] if one.get('where') else ''}"
    if one["kind"] == "webhook":
        return str(one["verify"]["scheme"])
    return str(one.get("form", ""))


@triggers.command()
def add(
    definition: DefinitionName,
    file: Annotated[
        Path, typer.Argument(help="A trigger in YAML or JSON.", exists=True, dir_okay=False)
    ],
    as_json: AsJson = False,
) -> None:
    """Add a trigger from a file; a webhook's address is printed this once."""
    body = read_data(file)
    with api() as remote:
        found = remote.post(f"/definitions/{definition}/triggers", body)
    _print_new(found, as_json)


def _print_new(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    out.print(found["id"])
    if found.get("url"):
        err.print(f"deliveries go to {found['url']}")
        err.print("this address is shown once: whoever has it may deliver")


def _switch(definition: str, trigger: str, action: str, as_json: bool) -> None:
    with api() as remote:
        found = remote.post(f"/definitions/{definition}/triggers/{trigger}/{action}")
    if as_json:
        print_json(found)
    else:
        out.print(f"{found['id']} is {'enabled' if found['enabled'] else 'disabled'}")


@triggers.command()
def enable(definition: DefinitionName, trigger: TriggerId, as_json: AsJson = False) -> None:
    """Let a trigger fire again."""
    _switch(definition, trigger, "enable", as_json)


@triggers.command()
def disable(definition: DefinitionName, trigger: TriggerId, as_json: AsJson = False) -> None:
    """Rest a trigger."""
    _switch(definition, trigger, "disable", as_json)


@triggers.command()
def delete(definition: DefinitionName, trigger: TriggerId) -> None:
    """Delete a trigger; the runs that it has started go on."""
    with api() as remote:
        remote.delete(f"/definitions/{definition}/triggers/{trigger}")
    out.print(f"{trigger} is deleted")


@triggers.command()
def rotate(definition: DefinitionName, trigger: TriggerId, as_json: AsJson = False) -> None:
    """Give a webhook a new address; the one before is unknown from now on."""
    with api() as remote:
        found = remote.post(f"/definitions/{definition}/triggers/{trigger}/rotate")
    _print_new(found, as_json)


@triggers.command()
def preview(
    definition: DefinitionName,
    trigger: TriggerId,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=100)] = 10,
    as_json: AsJson = False,
) -> None:
    """Say when a schedule is due next."""
    with api() as remote:
        path = f"/definitions/{definition}/triggers/{trigger}/preview"
        found = remote.get(path, count=count)
    if as_json:
        print_json(found)
        return
    print_table(
        ("here", "in its zone", "note"),
        [(moment(one["time"]), one["local_time"], one["note"]) for one in found["items"]],
    )
    if found["skipped"]:
        err.print(f"the clock skips {json.dumps(found['skipped'])}: nothing starts then")
    if found["resting"]:
        err.print("it is paused or disabled: nothing starts for now")


@triggers.command()
def fire(definition: DefinitionName, trigger: TriggerId, as_json: AsJson = False) -> None:
    """Start a run of a schedule at once, and print the run's id."""
    with api() as remote:
        found = remote.post(f"/definitions/{definition}/triggers/{trigger}/fire")
    if as_json:
        print_json(found)
    else:
        out.print(found["run_id"])
