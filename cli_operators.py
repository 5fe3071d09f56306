"""Commands of operators and assignees: held steps, vars, rewind, approvals."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console

from schemas.errors import SojournError

if TYPE_CHECKING:
    from remote import Remote

app = typer.Typer()
_out = Console(highlight=False, soft_wrap=True, markup=False)
_err = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)

RunId = Annotated[str, typer.Argument(metavar="RUN", help="The run's id.")]
StepPath = Annotated[
    str, typer.Argument(metavar="STEP", help="The step's path, 'each[3].send' inside a loop.")
]
By = Annotated[str | None, typer.Option(help="Who decides; kept in the audit.")]


@contextmanager
def _remote() -> "Iterator[Remote]":
    """Give the API; its errors become a message, a hint and exit code 1."""
    from remote import Remote

    try:
        yield Remote.found()
    except SojournError as error:
        _err.print(f"{error.code}: {error.message}")
        for problem in error.problems:
            _err.print(f"{problem.path}: {problem.message}" if problem.path else problem.message)
        if error.hint:
            _err.print(f"hint: {error.hint}")
        raise typer.Exit(1) from None


def _json(text: str, option: str) -> Any:
    """Read JSON, or a file of it after @."""
    source = Path(text[1:]).read_text(encoding="utf-8") if text.startswith("@") else text
    try:
        return json.loads(source)
    except json.JSONDecodeError as error:
        raise typer.BadParameter(f"not JSON: {error}", param_hint=option) from None


def _decide(run: str, step: str, action: str, body: dict[str, Any]) -> None:
    given = {name: value for name, value in body.items() if value is not None}
    with _remote() as remote:
        answer = remote.post(f"/runs/{run}/steps/{quote(step, safe='')}/{action}", given)
    _out.print(f"{answer['id']} is {answer['status']}")


@app.command()
def retry(
    run: RunId,
    step: StepPath,
    given: Annotated[
        str | None, typer.Option("--input", help="Another input as JSON, or @FILE.")
    ] = None,
    by: By = None,
) -> None:
    """Run a step that failed and is held again."""
    value = None if given is None else _json(given, "--input")
    _decide(run, step, "retry", {"input": value, "by": by})


@app.command()
def skip(
    run: RunId,
    step: StepPath,
    output: Annotated[str, typer.Option(help="The step's output as JSON, or @FILE.")] = "null",
    by: By = None,
) -> None:
    """Go on without a step that failed and is held."""
    _decide(run, step, "skip", {"output": _json(output, "--output"), "by": by})


@app.command()
def abort(run: RunId, step: StepPath, by: By = None) -> None:
    """Let a step that is held fail; the run compensates what it has done."""
    _decide(run, step, "abort", {"by": by})


@app.command()
def rewind(run: RunId, step: StepPath, by: By = None) -> None:
    """Go back to a step: it and what follows run again."""
    with _remote() as remote:
        answer = remote.post(f"/runs/{run}/rewind", {"path": step, "by": by})
    _out.print(f"{answer['id']} is {answer['status']}")


@app.command("vars")
def set_vars(
    run: RunId,
    values: Annotated[list[str], typer.Argument(metavar="NAME=JSON...", help="New values.")],
    by: By = None,
) -> None:
    """Change vars of a paused run."""
    given: dict[str, Any] = {}
    for pair in values:
        name, equals, text = pair.partition("=")
        if not equals:
            raise typer.BadParameter(f"{pair!r} is not NAME=JSON")
        given[name] = _json(text, name)
    with _remote() as remote:
        answer = remote.patch(f"/runs/{run}/vars", {"vars": given, "by": by})
    _out.print(f"{answer['id']} is {answer['status']}")


@app.command()
def approvals(
    assignee: Annotated[str | None, typer.Option(help="Only those that ask this person.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
) -> None:
    """List the approvals that wait for an answer."""
    with _remote() as remote:
        page = remote.get("/approvals", assignee=assignee, limit=limit)
    for found in page["items"]:
        about = found["description"] or found["title"] or found["definition"]
        line = f"{found['run_id']}  {found['path']}  {about}: {found['note'] or ''}"
        sys.stdout.write(line.rstrip() + "\n")


Data = Annotated[str, typer.Option(help="The form's data as JSON, or @FILE.")]
Person = Annotated[str, typer.Option("--by", help="Who answers: one of the assignees.")]


@app.command()
def approve(run: RunId, step: StepPath, by: Person, data: Data = "{}") -> None:
    """Approve for one of the assignees."""
    _answer(run, step, "approved", by, data)


@app.command()
def reject(run: RunId, step: StepPath, by: Person, data: Data = "{}") -> None:
    """Reject for one of the assignees."""
    _answer(run, step, "rejected", by, data)


def _answer(run: str, step: str, decision: str, by: str, data: str) -> None:
    body = {"decision": decision, "by": by, "data": _json(data, "--data")}
    with _remote() as remote:
        answer = remote.post(f"/runs/{run}/approvals/{quote(step, safe='')}", body)
    _out.print(f"{answer['id']} is {answer['status']}")
