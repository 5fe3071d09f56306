"""Commands about bulk jobs: one action on many runs or dead letters, with its progress."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.bulk import MAX_BULK_RATE, BulkAction
from terminal import (
    AsJson,
    Exit,
    api,
    err,
    leave,
    moment,
    out,
    print_json,
    print_table,
    read_time,
)

if TYPE_CHECKING:
    from remote import Remote

app = typer.Typer()
_bulk = typer.Typer(help="One action on many runs or dead letters.", no_args_is_help=True)
app.add_typer(_bulk, name="bulk")

# Seconds between two looks at a job.
_PAUSE = 0.3
_HELP = {
    BulkAction.PAUSE: "Let many runs start nothing new.",
    BulkAction.RESUME: "Let many paused runs go on.",
    BulkAction.CANCEL: "Ask many runs to end.",
    BulkAction.TERMINATE: "End many runs where they stand, without compensation.",
    BulkAction.RETRY: "Run the held steps of many runs again.",
    BulkAction.MIGRATE: "Move many runs to another version of their definition.",
    BulkAction.REDRIVE: "Try many dead letters again.",
}

JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id.")]
Wait = Annotated[
    bool,
    typer.Option("--wait", "-w", help="Follow it; exit code 1 unless every item was done."),
]


def _ordering(action: BulkAction) -> Callable[..., None]:
    """Give the command of an action."""

    def order(
        ids: Annotated[
            list[str] | None, typer.Argument(metavar="ID...", help="Their ids, or --filter.")
        ] = None,
        filters: Annotated[
            list[str] | None,
            typer.Option(
                "--filter",
                "-f",
                metavar="NAME=VALUE",
                help="Which; many times. Of runs: definition, version, status, lead, from, to; of"
                " dead letters: definition, kind, code, fingerprint, from, to.",
            ),
        ] = None,
        everything: Annotated[
            bool, typer.Option("--all", help="All that are open, without a filter.")
        ] = False,
        version: Annotated[
            int | None,
            typer.Option("--to", min=1, help="migrate, redrive: in which version they go on."),
        ] = None,
        mapping: Annotated[
            list[str] | None,
            typer.Option("--map", metavar="OLD=NEW", help="migrate: a step's new id; many times."),
        ] = None,
        origin: Annotated[
            str | None, typer.Option("--from", help="redrive: failed_step or start.")
        ] = None,
        reason: Annotated[str | None, typer.Option(help="terminate: why.")] = None,
        rate: Annotated[int, typer.Option(min=1, max=MAX_BULK_RATE, help="Items a second.")] = 10,
        preview: Annotated[
            bool, typer.Option("--preview", help="Only say what would happen.")
        ] = False,
        wait: Wait = False,
        as_json: AsJson = False,
    ) -> None:
        body: dict[str, Any] = {"action": action.value, "rate": rate, "preview": preview}
        if sum((bool(ids), bool(filters), everything)) != 1:
            raise typer.BadParameter("give either ids, or --filter, or --all", param_hint="ID...")
        if ids:
            body["ids"] = ids
        else:
            name = "letters" if action is BulkAction.REDRIVE else "filter"
            body[name] = _filter(filters or [])
        if version is not None:
            body["version"] = version
        if mapping:
            body["mapping"] = dict(_pair(text, "--map") for text in mapping)
        if origin is not None:
            body["from"] = origin
        if reason is not None:
            body["reason"] = reason
        with api() as remote:
            answer = remote.post("/bulk", body)
            if preview:
                _print_preview(answer, as_json=as_json)
                return
            _tell(remote, answer, wait=wait, as_json=as_json)

    order.__doc__ = _HELP[action]
    return order


for _action in BulkAction:
    _bulk.command(_action.value)(_ordering(_action))


def _pair(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint=option)
    return name, value


def _filter(filters: list[str]) -> dict[str, Any]:
    """Read filters; which of them there are, and their values, the API judges."""
    wanted: dict[str, Any] = {}
    for text in filters:
        name, value = _pair(text, "--filter")
        if name == "status":
            wanted.setdefault("status", []).extend(value.split(","))
        elif name in wanted:
            raise typer.BadParameter(f"{name!r} is there twice", param_hint="--filter")
        else:
            wanted[name] = read_time(value, "--filter") if name in ("from", "to") else value
    return wanted


def _print_preview(answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(answer)
        return
    out.print(
        f"{answer['count']} items; of the {len(answer['items'])} below {answer['blocked']} blocked"
    )
    print_table(
        ("id", "fit", "steps", "reasons"),
        [
            (one["id"], one["fit"], ", ".join(one["points"]), "; ".join(one["reasons"]))
            for one in answer["items"]
        ],
    )


def _tell(remote: "Remote", job: dict[str, Any], *, wait: bool, as_json: bool) -> None:
    """Print a job, with `wait` at its end, and leave with what has become of its items."""
    if wait:
        job = _follow(remote, job)
    failed = remote.pages(f"/bulk/{job['id']}/items", 100, state="failed") if job["failed"] else []
    if as_json:
        print_json({**job, "failed_items": failed} if wait else job)
    else:
        out.print(
            f"bulk job {job['id']}: {job['action']} is {job['state']}, {job['done']} done and"
            f" {job['failed']} failed of {job['total']}"
        )
        if failed:
            print_table(
                ("item", "code", "message"),
                [(one["id"], one["code"], one["message"]) for one in failed],
            )
    if wait and (job["state"], job["done"]) != ("completed", job["total"]):
        leave(Exit.FAILED)


def _follow(remote: "Remote", job: dict[str, Any]) -> dict[str, Any]:
    """Show a job's progress until it has ended; gives the job as it is then."""
    from rich.progress import Progress

    with Progress(console=err, transient=True) as progress:
        bar = progress.add_task(job["action"], total=job["total"])
        while True:
            progress.update(bar, completed=job["done"] + job["failed"])
            if job["state"] not in ("queued", "running"):
                return job
            time.sleep(_PAUSE)
            job = remote.get(f"/bulk/{job['id']}")


@_bulk.command("list")
def list_jobs(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000)] = 20,
    as_json: AsJson = False,
) -> None:
    """List bulk jobs, newest first."""
    with api() as remote:
        found = remote.pages("/bulk", limit)
    if as_json:
        print_json(found)
        return
    columns = ("action", "state", "total", "done", "failed", "actor")
    print_table(
        ("job", *columns, "created"),
        [(one["id"], *(one[name] for name in columns), moment(one["created_at"])) for one in found],
    )


@_bulk.command("show")
def show_job(job: JobId, wait: Wait = False, as_json: AsJson = False) -> None:
    """Show how far a bulk job is, and which items it could not do."""
    with api() as remote:
        _tell(remote, remote.get(f"/bulk/{job}"), wait=wait, as_json=as_json)


@_bulk.command("stop")
def stop_job(job: JobId, as_json: AsJson = False) -> None:
    """End a bulk job; what it has done stays done."""
    with api() as remote:
        _tell(remote, remote.post(f"/bulk/{job}/cancel"), wait=False, as_json=as_json)
