"""Opens stored connections and secrets for actions; nothing else in a worker does."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from activities.errors import ActionError
from activities.masking import hide
from db import connections, secrets
from db.engine import Database
from schemas.errors import ErrorCode
from schemas.keyring import KeyRing
from schemas.markers import DELIMITER, holds_markers, names_in, resolved


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection that is open for use; `secrets` by field, as schemas/connections names them.

    `updated_at` tells a stored one from those that were stored under its name before and after.
    """

    name: str
    kind: str
    config: dict[str, Any]
    secrets: dict[str, str] = field(repr=False)
    updated_at: datetime | None = field(default=None, compare=False)


class Vault:
    """What is stored sealed, by name.

    Whatever it opens is hidden from the result, the error and the logs of the attempt it is for.
    Raises ActionError INVALID_INPUT (never retried) where no keys are configured or a name is
    unknown, SealError for what does not open with them.
    """

    def __init__(self, database: Database | None, keyring: KeyRing | None) -> None:
        """Open what `database` holds with `keyring`; either may be missing until it is needed."""
        self._database = database
        self._keyring = keyring

    async def connection(self, workspace: str, name: str, *kinds: str) -> Connection:
        """Open a connection; raises ActionError INVALID_INPUT if it is of none of the kinds.

        CONFLICT for one that is disabled: nothing is sent, and nothing is tried again.
        """
        database, keyring = self._parts()
        async with database.session() as session:
            row = await connections.find(session, workspace, name)
        if row is None:
            raise _refused(
                f"there is no connection named {name!r}", "see /api/v1/connections for their names"
            )
        if kinds and row.kind not in kinds:
            raise _refused(
                f"the connection {name!r} is of kind {row.kind}, not {' or '.join(kinds)}"
            )
        if row.disabled_at is not None:
            raise ActionError(
                f"the connection {name!r} is disabled since {row.disabled_at:%Y-%m-%d %H:%M} UTC:"
                f" {row.disabled_reason}",
                code=ErrorCode.CONFLICT,
                retryable=False,
                hint=f"enable it again: POST /api/v1/connections/{name}/enable",
                in_doubt=False,
            )
        opened = connections.open_secrets(row, keyring)
        hide(*opened.values())
        return Connection(row.name, row.kind, row.config, opened, row.updated_at)

    async def disable(self, workspace: str, connection: Connection, reason: str, by: str) -> None:
        """Have nothing more sent over a stored connection, as `db.connections.disable`."""
        if connection.updated_at is None:
            return
        database, _ = self._parts()
        async with database.session() as session:
            await connections.disable(
                session,
                workspace,
                connection.name,
                seen=connection.updated_at,
                reason=reason,
                actor=by,
            )

    async def secret(self, workspace: str, name: str) -> str:
        """Open one secret."""
        return (await self._secrets(workspace, [name]))[name]

    async def reveal(self, workspace: str, value: Any) -> Any:
        """Replace the references to secrets inside rendered parameters by their values."""
        if not holds_markers(value):
            return value
        names = list(dict.fromkeys(names_in(value)))
        opened = await self._secrets(workspace, names)
        found = resolved(value, dict.fromkeys(names, ""))
        if holds_markers(found):
            raise _refused(f"the parameters hold {DELIMITER!a} outside a reference to a secret")
        return resolved(value, opened)

    async def _secrets(self, workspace: str, names: list[str]) -> dict[str, str]:
        database, keyring = self._parts()
        async with database.session() as session:
            rows = await secrets.find_all(session, workspace, names)
        opened = {row.name: secrets.open_secret(row, keyring) for row in rows}
        missing = [name for name in names if name not in opened]
        if missing:
            raise _refused(
                f"there is no secret named {missing[0]!r}", "store it: PUT /api/v1/secrets/NAME"
            )
        hide(*opened.values())
        return opened

    def _parts(self) -> tuple[Database, KeyRing]:
        if self._keyring is None or self._database is None:
            missing = "keys" if self._database is not None else "database"
            raise _refused(
                f"this worker has no {missing} for connections and secrets",
                "set SOJOURN_SECRET_KEYS on the workers, as it is set on the API",
            )
        return self._database, self._keyring


def _refused(message: str, hint: str | None = None) -> ActionError:
    return ActionError(message, code=ErrorCode.INVALID_INPUT, retryable=False, hint=hint)
