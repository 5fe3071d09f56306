"""`sojourn logs`: the log of a run, and following it."""

import json
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from schemas.errors import SojournError
from schemas.run import TERMINAL

if TYPE_CHECKING:
    from remote import Remote

app = typer.Typer()
_err = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
# Seconds between two looks at a log that is followed.
_EVERY = 1.0


@app.command()
def logs(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's id.")],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Wait for lines until the run has ended.")
    ] = False,
    level: Annotated[
        str | None, typer.Option(help="Of this level and graver: debug, info, warning, error.")
    ] = None,
    step: Annotated[str | None, typer.Option(help="Of this step: its path or its id.")] = None,
    text: Annotated[str | None, typer.Option("--grep", help="With this in the message.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object a line.")] = False,
) -> None:
    """Print the log of a run, the oldest line first."""
    from remote import Remote

    wanted = {"level": level, "step": step, "q": text}
    try:
        for line in _lines(Remote.found(), run, wanted, follow=follow):
            sys.stdout.write((json.dumps(line) if as_json else _shown(line)) + "\n")
            sys.stdout.flush()
    except SojournError as error:
        _err.print(f"{error.code}: {error.message}")
        if error.hint:
            _err.print(f"hint: {error.hint}")
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _lines(
    remote: "Remote", run: str, wanted: dict[str, Any], *, follow: bool
) -> Iterator[dict[str, Any]]:
    after = 0
    while True:
        # Asked before the lines: what the run wrote before its end is then there.
        ended = not follow or remote.get(f"/runs/{run}")["status"] in TERMINAL
        while True:
            page = remote.get(f"/runs/{run}/logs", after=after, **wanted)
            yield from page["items"]
            after = page["next"]
            if not page["more"]:
                break
        if ended:
            return
        time.sleep(_EVERY)


def _shown(line: dict[str, Any]) -> str:
    at = datetime.fromisoformat(line["at"]).astimezone()
    who = line["step"] or line["source"]
    more = " ".join(
        f"{name}={json.dumps(value, ensure_ascii=False)}"
        for name, value in line["metadata"].items()
    )
    return f"{at:%Y-%m-%d %H:%M:%S} {line['level']:7} {who}: {line['message']} {more}".rstrip()
