"""Commands about dead letters: what failed for good, trying it again, giving it up."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from terminal import AsJson, api, err, moment, out, print_json, print_table, read_json

app = typer.Typer()


class Origin(StrEnum):
    """From where something is tried again."""

    FAILED_STEP = "failed_step"
    START = "start"


LetterId = Annotated[str, typer.Argument(metavar="LETTER", help="The dead letter's id.")]
Definition = Annotated[str | None, typer.Option("--definition", "-d", help="Only its.")]
Fingerprint = Annotated[str | None, typer.Option(help="Only failures of this one cause.")]
Code = Annotated[str | None, typer.Option(help="Only with this error code.")]


@app.command("dead-letters")
def dead_letters(
    definition: Definition = None,
    code: Code = None,
    fingerprint: Fingerprint = None,
    state: Annotated[str, typer.Option(help="open, redriven, discarded or all.")] = "open",
    groups: Annotated[bool, typer.Option("--groups", help="By what has caused them.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000)] = 50,
    as_json: AsJson = False,
) -> None:
    """List what failed for good, the last first."""
    wanted = {
        "definition": definition,
        "code": code,
        "fingerprint": fingerprint,
        "state": None if state == "all" else state,
    }
    with api() as remote:
        if groups:
            found = remote.get("/dead-letters/groups", limit=min(limit, 200), **wanted)["items"]
        else:
            found = remote.pages("/dead-letters", limit, **wanted)
    if as_json:
        print_json(found)
    elif groups:
        print_table(
            ("fingerprint", "count", "last", "definition", "code", "message"),
            [
                (one["fingerprint"], one["count"], moment(one["last"]), *_cause(one["sample"]))
                for one in found
            ],
        )
    else:
        print_table(
            ("letter", "kind", "state", "created", "definition", "code", "message"),
            [
                (one["id"], one["kind"], one["state"], moment(one["created_at"]), *_cause(one))
                for one in found
            ],
        )


def _cause(letter: dict[str, Any]) -> tuple[str, str, str]:
    return letter["definition"], letter["code"], letter["message"]


@app.command()
def redrive(
    letters: Annotated[
        list[str] | None, typer.Argument(metavar="LETTER...", help="Their ids, or filters.")
    ] = None,
    definition: Definition = None,
    code: Code = None,
    fingerprint: Fingerprint = None,
    version: Annotated[int | None, typer.Option(min=1, help="In this version instead.")] = None,
    given: Annotated[
        str | None, typer.Option("--input", help="Another input, for one: JSON or @FILE.")
    ] = None,
    origin: Annotated[Origin, typer.Option("--from", help="From where.")] = Origin.FAILED_STEP,
    rate: Annotated[int, typer.Option(min=1, help="So many a second.")] = 10,
    preview: Annotated[bool, typer.Option("--preview", help="Only say what would happen.")] = False,
    as_json: AsJson = False,
) -> None:
    """Try dead letters again: one prints its new run, many make a bulk job."""
    wanted = {
        name: value
        for name, value in (
            ("definition", definition),
            ("code", code),
            ("fingerprint", fingerprint),
        )
        if value is not None
    }
    if bool(letters) == bool(wanted):
        raise typer.BadParameter("give either ids or filters", param_hint="LETTER...")
    body: dict[str, Any] = {"from": str(origin), "preview": preview}
    if version is not None:
        body["version"] = version
    if letters is not None and len(letters) == 1:
        if given is not None:
            body["input"] = read_json(given, "--input")
        with api() as remote:
            answer = remote.post(f"/dead-letters/{letters[0]}/redrive", body)
        _print_one(answer, preview=preview, as_json=as_json)
        return
    if given is not None:
        raise typer.BadParameter("another input is for one dead letter", param_hint="--input")
    body["rate"] = rate
    body |= {"ids": letters} if letters else {"filter": wanted}
    with api() as remote:
        answer = remote.post("/dead-letters/redrive", body)
    if as_json:
        print_json(answer)
    elif preview:
        out.print(f"{answer['count']} dead letters")
        print_table(
            ("letter", "fit", "reasons"),
            [(one["id"], one["fit"], "; ".join(one["reasons"])) for one in answer["items"]],
        )
    else:
        out.print(f"bulk job {answer['id']}: {answer['total']} dead letters")


def _print_one(answer: dict[str, Any], *, preview: bool, as_json: bool) -> None:
    if as_json:
        print_json(answer)
    elif preview:
        out.print(f"{answer['id']}: {answer['fit']}")
        for name, values in (("from", answer["points"]), ("kept", answer["kept"])):
            if values:
                out.print(f"{name}: {', '.join(values)}")
        for reason in answer["reasons"]:
            err.print(reason)
    else:
        out.print(answer["run_id"] or f"{answer['id']} is {answer['state']}")


@app.command()
def discard(
    letter: LetterId,
    reason: Annotated[str, typer.Option("--reason", "-r", help="Why.")],
    as_json: AsJson = False,
) -> None:
    """Give a dead letter up, and say why."""
    with api() as remote:
        found = remote.post(f"/dead-letters/{letter}/discard", {"reason": reason})
    if as_json:
        print_json(found)
    else:
        out.print(f"{found['id']} is {found['state']}")


@app.command("mark-sent")
def mark_sent(
    letter: LetterId,
    output: Annotated[
        str | None, typer.Option(help="Adds to the step's output: JSON or @FILE.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say of a parked send that it was sent: its step completes and the run goes on."""
    body = {} if output is None else {"output": read_json(output, "--output")}
    _decide(letter, "mark-sent", body, as_json=as_json)


@app.command()
def resend(letter: LetterId, as_json: AsJson = False) -> None:
    """Say of a parked send that it was not sent: its step sends it."""
    _decide(letter, "resend", None, as_json=as_json)


def _decide(letter: str, decision: str, body: dict[str, Any] | None, *, as_json: bool) -> None:
    with api() as remote:
        found = remote.post(f"/dead-letters/{letter}/{decision}", body)
    if as_json:
        print_json(found)
    elif found["status"] is None:
        out.print(f"{found['id']} is {found['state']}; no step waited for it any more")
    else:
        out.print(f"{found['id']} is {found['state']}; run {found['run_id']} is {found['status']}")
