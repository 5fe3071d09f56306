"""Commands about the keys that connections and secrets are sealed with."""

import asyncio
import base64
import os
from typing import Annotated

import typer
from rich.console import Console

from schemas.errors import SojournError

app = typer.Typer()
secrets = typer.Typer(
    help="Keys of stored connections and secrets; they work on the database, not over the API.",
    no_args_is_help=True,
)
app.add_typer(secrets, name="secrets")
_out = Console(highlight=False, soft_wrap=True, markup=False)
_err = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)


@secrets.command("key")
def new_key(key_id: Annotated[str, typer.Argument(metavar="ID", help="Such as k2.")]) -> None:
    """Print a new random key, to be put first in SOJOURN_SECRET_KEYS."""
    from db.sealing import KEY_BYTES, KeyRing

    entry = f"{key_id}:{base64.b64encode(os.urandom(KEY_BYTES)).decode()}"
    try:
        KeyRing.parse(entry)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="ID") from None
    _out.print(entry)


@secrets.command()
def rotate(
    batch: Annotated[int, typer.Option(min=1, max=10_000, help="Rows in one transaction.")] = 100,
) -> None:
    """Seal everything anew with the first key of SOJOURN_SECRET_KEYS; older keys can then go."""
    from db.rotation import Rotated
    from db.rotation import rotate as rotate_all
    from settings import SettingsError, load_settings

    try:
        settings = load_settings()
    except SettingsError as error:
        _err.print(str(error))
        raise typer.Exit(1) from None
    keyring = settings.keyring
    if keyring is None:
        _err.print("SOJOURN_SECRET_KEYS is not set")
        _err.print("hint: give the new key first, then the old ones")
        raise typer.Exit(1)

    async def run() -> Rotated:
        database = settings.database()
        try:
            return await rotate_all(database, keyring, workspace=settings.workspace, batch=batch)
        finally:
            await database.close()

    try:
        done = asyncio.run(run())
    except SojournError as error:
        _err.print(f"{error.code}: {error.message}")
        if error.hint:
            _err.print(f"hint: {error.hint}")
        raise typer.Exit(1) from None
    _out.print(
        f"sealed {done.connections} connections and {done.secrets} secrets anew with the key"
        f" {keyring.current!r}"
    )
