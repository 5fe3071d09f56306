"""Commands about runs: start, list, show, watch, steer."""

import json
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.durations import format_duration
from schemas.errors import SojournError
from schemas.run import TERMINAL, RunStatus
from terminal import (
    AsJson,
    DefinitionName,
    Exit,
    RunId,
    api,
    exit_code,
    leave,
    moment,
    out,
    print_json,
    print_table,
    read_data,
    read_json,
    read_time,
)

if TYPE_CHECKING:
    from remote import Remote

app = typer.Typer()
# Seconds before a stream that broke, or that is not there yet, is asked for again.
_PAUSE = 0.5


@app.command()
def run(
    definition: DefinitionName,
    given: Annotated[
        list[str] | None,
        typer.Option("--input", "-i", help="NAME=VALUE, a JSON object, or @FILE; many times."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="Input from a file of YAML or JSON.", exists=True, dir_okay=False),
    ] = None,
    version: Annotated[
        int | None, typer.Option(min=1, help="A version other than the active one.")
    ] = None,
    priority: Annotated[int | None, typer.Option(min=1, max=5, help="1 first.")] = None,
    lead: Annotated[str | None, typer.Option(help="A lead: its id or email address.")] = None,
    key: Annotated[
        str | None, typer.Option(help="The same key gives the same run, however often.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Watch it to its end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Start a run and print its id.

    With --wait its events follow; exit code 0 when it completes, 1 when it ends another way.
    """
    body: dict[str, Any] = {"input": _input(given or [], file)}
    if lead is not None:
        body["lead"] = {"email": lead} if "@" in lead else lead
    body |= {
        name: value
        for name, value in (("version", version), ("priority", priority))
        if value is not None
    }
    with api() as remote:
        started = remote.post(f"/definitions/{definition}/runs", body, key=key)
        if not wait:
            if as_json:
                print_json(started)
            else:
                out.print(started["id"])
            return
        if not as_json:
            out.print(started["id"])
        _watch(remote, started["id"], as_json=as_json, events=not as_json)


# What `run` was called first.
app.command("start", hidden=True)(run)


def _input(given: list[str], file: Path | None) -> dict[str, Any]:
    value: Any = {} if file is None else read_data(file)
    if not isinstance(value, dict):
        raise typer.BadParameter("the file holds no object", param_hint="--file")
    for text in given:
        if text.startswith(("{", "@")):
            more = read_json(text, "--input")
            if not isinstance(more, dict):
                raise typer.BadParameter(f"{text!r} is no JSON object", param_hint="--input")
            value = {**value, **more}
            continue
        name, equals, said = text.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--input")
        try:
            value = {**value, name: json.loads(said)}
        except json.JSONDecodeError:
            value = {**value, name: said}
    return value


@app.command()
def runs(
    definition: Annotated[str | None, typer.Option("--definition", "-d", help="Only its.")] = None,
    status: Annotated[
        list[RunStatus] | None, typer.Option("--status", "-s", help="Only with it; many times.")
    ] = None,
    lead: Annotated[str | None, typer.Option(help="Only of this lead, by its id.")] = None,
    parent: Annotated[str | None, typer.Option(help="Only those that this run started.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Created since: a duration (2d), or a time.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000)] = 20,
    as_json: AsJson = False,
) -> None:
    """List runs, newest first."""
    wanted = {"from": None if since is None else read_time(since, "--since")}
    with api() as remote:
        found = remote.pages(
            "/runs",
            limit,
            definition=definition,
            status=[str(one) for one in status] if status else None,
            lead=lead,
            parent=parent,
            **wanted,
        )
    if as_json:
        print_json(found)
        return
    print_table(
        ("run", "definition", "version", "status", "created", "waits for"),
        [
            (
                one["id"],
                one["definition"],
                one["version"],
                one["status"],
                moment(one["created_at"]),
                one["waiting_for"],
            )
            for one in found
        ],
    )


@app.command()
def show(run: RunId, as_json: AsJson = False) -> None:
    """Show a run and its steps."""
    with api() as remote:
        found = remote.get(f"/runs/{run}")
        steps = remote.get(f"/runs/{run}/steps")
    if as_json:
        print_json({**found, "steps": steps})
        return
    _print_run(found)
    out.print()
    print_table(
        ("step", "type", "status", "tries", "took", "note"),
        [
            (
                step["path"],
                step["type"],
                step["status"],
                step["attempts"],
                _took(step["duration_ms"]),
                _about(step),
            )
            for step in steps
        ],
    )


def _print_run(found: dict[str, Any]) -> None:
    note = " (may be behind)" if found["stale"] else ""
    if found["no_worker"]:
        note = " (no worker polls: it waits for one)"
    facts: list[tuple[str, Any]] = [
        ("run", found["id"]),
        ("definition", f"{found['definition']} version {found['version']}"),
        ("status", found["status"] + note),
        ("waits for", found["waiting_for"]),
        ("until", moment(found["until"])),
        ("created", moment(found["created_at"])),
        ("finished", moment(found["finished_at"])),
        ("input", json.dumps(found["input"], ensure_ascii=False)),
        ("output", json.dumps(found["output"], ensure_ascii=False) if found["output"] else None),
    ]
    if error := found["error"]:
        at = f" at {error['step']}" if error.get("step") else ""
        facts.append(("error", f"{error['code']}{at}: {error['message']}"))
    for name, value in facts:
        if value:
            out.print(f"{name:11} {value}")


def _took(milliseconds: int | None) -> str:
    if milliseconds is None:
        return ""
    if milliseconds < 10_000:
        return f"{milliseconds} ms"
    return format_duration(timedelta(seconds=round(milliseconds / 1000)))


def _about(step: dict[str, Any]) -> str:
    if error := step["error"]:
        return f"{error['code']}: {error['message']}"
    until = f"until {moment(step['until'])}" if step["until"] else ""
    return " ".join(part for part in (step["note"] or "", until) if part)


@app.command()
def watch(run: RunId, as_json: AsJson = False) -> None:
    """Follow a run to its end; exit code 0 when it completes, 1 when it ends another way.

    With --json an event a line, and the run at the end.
    """
    with api() as remote:
        _watch(remote, run, as_json=as_json, events=True)


def _watch(remote: "Remote", run: str, *, as_json: bool, events: bool) -> None:
    """Print events as they come, say meanwhile what the run waits for, and leave with its end."""
    from terminal import err

    with err.status("", spinner="dots") as status:
        for event in _follow(remote, run):
            if event["event"] is None:
                waits = event["waiting_for"]
                status.update(f"{event['status']}{f': {waits}' if waits else ''}")
            elif events:
                sys.stdout.write((json.dumps(event) if as_json else _line(event)) + "\n")
                sys.stdout.flush()
    found = remote.get(f"/runs/{run}")
    if as_json:
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        _print_run(found)
    leave(Exit.OK if found["status"] == RunStatus.COMPLETED else Exit.FAILED)


def _follow(remote: "Remote", run: str) -> Iterator[dict[str, Any]]:
    """Give a run's events until it has ended; between them, as `event: None`, where it stands."""
    last: str | None = None
    while True:
        found = remote.get(f"/runs/{run}")
        yield {"event": None, **found}
        try:
            for event in remote.events(f"/runs/{run}/events", last):
                last = event["id"] or last
                yield event
                if event["event"] != "run_started":
                    yield {"event": None, **remote.get(f"/runs/{run}")}
        except SojournError as error:
            # A run that is queued has no events yet, and a server that restarts comes back.
            if exit_code(error) is not Exit.AWAY:
                raise
        if found["status"] in TERMINAL:
            return
        time.sleep(_PAUSE)


def _line(event: dict[str, Any]) -> str:
    told = {name: value for name, value in event.items() if name not in ("id", "event", "at")}
    step = told.pop("path", None) or told.pop("step", None) or ""
    told.pop("step", None)
    more = " ".join(
        f"{name}={value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for name, value in told.items()
        if value is not None
    )
    return f"{moment(event['at'])}  {event['event']:16} {step} {more}".rstrip()


def _steer(run: str, action: str, as_json: bool) -> None:
    with api() as remote:
        answer = remote.post(f"/runs/{run}/{action}")
    if as_json:
        print_json(answer)
    else:
        out.print(f"{answer['id']} is {answer['status']}")


@app.command()
def pause(run: RunId, as_json: AsJson = False) -> None:
    """Let a run start nothing new; what runs goes on."""
    _steer(run, "pause", as_json)


@app.command()
def resume(run: RunId, as_json: AsJson = False) -> None:
    """Let a paused run go on."""
    _steer(run, "resume", as_json)


@app.command()
def cancel(run: RunId, as_json: AsJson = False) -> None:
    """Ask a run to end."""
    _steer(run, "cancel", as_json)


@app.command()
def queue(definition: DefinitionName, as_json: AsJson = False) -> None:
    """Say how many starts of a definition wait for their turn."""
    with api() as remote:
        found = remote.get(f"/definitions/{definition}/queue")
    if as_json:
        print_json(found)
        return
    oldest = f", the oldest since {moment(found['oldest'])}" if found["oldest"] else ""
    out.print(f"{found['waiting']} wait{oldest}; {found['active']} hold a slot")
