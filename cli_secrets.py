"""Commands about connections, and about the keys that they and secrets are sealed with."""

import asyncio
import base64
import os
from typing import Annotated

import typer

from terminal import AsJson, api, environment, err, moment, out, print_json, print_table, told

app = typer.Typer()
secrets = typer.Typer(
    help="Keys of stored connections and secrets; they work on the database, not over the API.",
    no_args_is_help=True,
)
app.add_typer(secrets, name="secrets")
connections = typer.Typer(help="Stored access to outside systems.", no_args_is_help=True)
app.add_typer(connections, name="connections")


@connections.command("list")
def list_connections(as_json: AsJson = False) -> None:
    """List the connections, without their secrets, and say which are disabled."""
    with api() as remote:
        found = remote.get("/connections")["items"]
    if as_json:
        print_json(found)
        return
    print_table(
        ("connection", "kind", "changed", "last test", "disabled"),
        [
            (
                one["name"],
                one["kind"],
                moment(one["updated_at"]),
                one["last_test"] and one["last_test"]["message"],
                one["disabled"] and one["disabled"]["reason"],
            )
            for one in found
        ],
    )


@connections.command()
def enable(
    name: Annotated[str, typer.Argument(metavar="CONNECTION", help="The connection's name.")],
) -> None:
    """Have a connection used again whose receiver wanted no more webhooks (410)."""
    with api() as remote:
        found = remote.post(f"/connections/{name}/enable")
    out.print(f"{found['name']} is enabled")


@secrets.command("key")
def new_key(key_id: Annotated[str, typer.Argument(metavar="ID", help="Such as k2.")]) -> None:
    """Print a new random key, to be put first in SOJOURN_SECRET_KEYS."""
    from schemas.keyring import KEY_BYTES, KeyRing

    entry = f"{key_id}:{base64.b64encode(os.urandom(KEY_BYTES)).decode()}"
    try:
        KeyRing.parse(entry)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="ID") from None
    out.print(entry)


@secrets.command()
def rotate(
    batch: Annotated[int, typer.Option(min=1, max=10_000, help="Rows in one transaction.")] = 100,
) -> None:
    """Seal everything anew with the first key of SOJOURN_SECRET_KEYS; older keys can then go."""
    from db.rotation import Rotated
    from db.rotation import rotate as rotate_all

    settings = environment()
    keyring = settings.keyring
    if keyring is None:
        err.print("SOJOURN_SECRET_KEYS is not set")
        err.print("hint: give the new key first, then the old ones")
        raise typer.Exit(1)

    async def run() -> Rotated:
        database = settings.database()
        try:
            return await rotate_all(database, keyring, workspace=settings.workspace, batch=batch)
        finally:
            await database.close()

    with told():
        done = asyncio.run(run())
    out.print(
        f"sealed {done.connections} connections and {done.secrets} secrets anew with the key"
        f" {keyring.current!r}"
    )
