"""Commands of operators and assignees: held steps, vars, rewind, approvals."""

from typing import Annotated, Any
from urllib.parse import quote

import typer

from terminal import AsJson, RunId, api, moment, out, print_json, print_table, read_json

app = typer.Typer()

StepPath = Annotated[
    str, typer.Argument(metavar="STEP", help="The step's path, 'each[3].send' inside a loop.")
]
By = Annotated[str | None, typer.Option(help="Who decides; kept in the audit.")]


def _decide(run: str, step: str, action: str, body: dict[str, Any]) -> None:
    given = {name: value for name, value in body.items() if value is not None}
    with api() as remote:
        answer = remote.post(f"/runs/{run}/steps/{quote(step, safe='')}/{action}", given)
    out.print(f"{answer['id']} is {answer['status']}")


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
    value = None if given is None else read_json(given, "--input")
    _decide(run, step, "retry", {"input": value, "by": by})


@app.command()
def skip(
    run: RunId,
    step: StepPath,
    output: Annotated[str, typer.Option(help="The step's output as JSON, or @FILE.")] = "null",
    by: By = None,
) -> None:
    """Go on without a step that failed and is held."""
    _decide(run, step, "skip", {"output": read_json(output, "--output"), "by": by})


@app.command()
def abort(run: RunId, step: StepPath, by: By = None) -> None:
    """Let a step that is held fail; the run compensates what it has done."""
    _decide(run, step, "abort", {"by": by})


@app.command()
def rewind(run: RunId, step: StepPath, by: By = None) -> None:
    """Go back to a step: it and what follows run again."""
    with api() as remote:
        answer = remote.post(f"/runs/{run}/rewind", {"path": step, "by": by})
    out.print(f"{answer['id']} is {answer['status']}")


@app.command()
def unblock(
    run: RunId,
    last_completed: Annotated[
        bool,
        typer.Option(
            "--last-completed",
            help="Go back to before the last good task; its activities run again.",
        ),
    ] = False,
) -> None:
    """Have a blocked run go on at once, when what held it up is mended."""
    body = {"from": "last_completed"} if last_completed else {}
    with api() as remote:
        answer = remote.post(f"/runs/{run}/unblock", body)
    out.print(f"{answer['id']} goes on")


@app.command()
def terminate(
    run: RunId, reason: Annotated[str, typer.Option(help="Why; kept in the audit.")]
) -> None:
    """End a run where it stands; nothing is compensated."""
    with api() as remote:
        answer = remote.post(f"/runs/{run}/terminate", {"reason": reason})
    out.print(f"{answer['id']} is {answer['status']}")


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
        given[name] = read_json(text, name)
    with api() as remote:
        answer = remote.patch(f"/runs/{run}/vars", {"vars": given, "by": by})
    out.print(f"{answer['id']} is {answer['status']}")


@app.command()
def approvals(
    assignee: Annotated[str | None, typer.Option(help="Only those that ask this person.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000)] = 50,
    as_json: AsJson = False,
) -> None:
    """List the approvals that wait for an answer."""
    with api() as remote:
        found = remote.pages("/approvals", limit, assignee=assignee)
    if as_json:
        print_json(found)
        return
    print_table(
        ("run", "step", "about", "note", "until"),
        [
            (
                one["run_id"],
                one["path"],
                one["description"] or one["title"] or one["definition"],
                one["note"],
                moment(one["until"]),
            )
            for one in found
        ],
    )


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
    body = {"decision": decision, "by": by, "data": read_json(data, "--data")}
    with api() as remote:
        answer = remote.post(f"/runs/{run}/approvals/{quote(step, safe='')}", body)
    out.print(f"{answer['id']} is {answer['status']}")
