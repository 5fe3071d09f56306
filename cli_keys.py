"""Commands about API keys of the workspace."""

from typing import Annotated, Any

import typer

from terminal import AsJson, api, moment, out, print_json, print_table

app = typer.Typer()
_keys = typer.Typer(help="API keys of the workspace.", no_args_is_help=True)
app.add_typer(_keys, name="keys")

KeyId = Annotated[str, typer.Argument(metavar="KEY", help="The key's id.")]


@_keys.command("create")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for.")],
    role: Annotated[
        str, typer.Option(help="viewer, operator, editor or admin; at most your own.")
    ] = "operator",
    scopes: Annotated[
        list[str] | None,
        typer.Option("--scope", metavar="SCOPE", help="Such as runs:write; may be repeated."),
    ] = None,
    grants: Annotated[
        list[str] | None,
        typer.Option(
            "--grant", metavar="DEFINITION=ROLE", help="A greater role on one; may be repeated."
        ),
    ] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="TIME", help="Such as 2027-01-31T12:00:00Z.")
    ] = None,
    workspace: Annotated[
        str | None, typer.Option(help="Another one's; for the installation's operator.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key; it is shown this once."""
    given: dict[str, str] = {}
    for each in grants or []:
        definition, equals, granted = each.partition("=")
        if not equals:
            raise typer.BadParameter(f"{each!r} is not DEFINITION=ROLE", param_hint="--grant")
        given[definition] = granted
    body: dict[str, Any] = {
        "name": name,
        "role": role,
        "scopes": scopes or [],
        "grants": given,
        "expires_at": expires,
        "workspace": workspace,
    }
    with api() as remote:
        _show_new(remote.post("/api-keys", body), as_json=as_json)


@_keys.command("list")
def show(
    workspace: Annotated[
        str | None, typer.Option(help="Another one's; for the installation's operator.")
    ] = None,
    ended: Annotated[bool, typer.Option("--all", help="Also those that were revoked.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the keys, the latest first; never the secrets."""
    with api() as remote:
        items = remote.get("/api-keys", workspace=workspace)["items"]
    if not ended:
        items = [each for each in items if each["revoked_at"] is None]
    if as_json:
        print_json(items)
        return
    columns = ["ID", "NAME", "ROLE", "SCOPES", "LAST4", "LAST USED", "EXPIRES", "REVOKED"]
    print_table(
        columns,
        [
            [
                each["id"],
                each["name"],
                each["role"],
                " ".join(each["scopes"]) or "all",
                each["last4"],
                *(moment(each[name]) for name in ("last_used_at", "expires_at", "revoked_at")),
            ]
            for each in items
        ],
    )


@_keys.command("rotate")
def rotate(
    key: KeyId,
    overlap: Annotated[
        str, typer.Option(metavar="DURATION", help="How long the old one lives on.")
    ] = "24h",
    as_json: AsJson = False,
) -> None:
    """Make the key that takes over; it is shown this once."""
    with api() as remote:
        _show_new(remote.post(f"/api-keys/{key}/rotate", {"overlap": overlap}), as_json=as_json)


@_keys.command("revoke")
def revoke(key: KeyId) -> None:
    """End a key; it passes nowhere after five seconds."""
    with api() as remote:
        remote.delete(f"/api-keys/{key}")
    out.print(f"{key} is revoked")


def _show_new(made: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(made)
        return
    out.print(f"{made['role']} of {made['workspace']}; it is shown this once:")
    out.print(made["key"])
