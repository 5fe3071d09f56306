"""A connection whose every statement sees the rows of one scope, at no round trip of its own.

PostgreSQL's policies compare each row's workspace with the setting `app.workspace`. A transaction
gets it together with its BEGIN, in one message and for itself alone; a statement without a
transaction needs it set for the session, which is done when it differs from what is there.
"""

from typing import Any

import asyncpg

from db.tenancy import current

SETTING = "app.workspace"


class ScopedConnection(asyncpg.Connection):
    """What the pool connects with; `fallback` is the scope where a task has none."""

    fallback: str | None = None
    # As the session has it: nothing at first, and None while that is not known.
    scoped: str | None = ""

    def wanted(self) -> str:
        """Return what the setting must be now; the empty name, which nobody has, sees nothing."""
        return current() or self.fallback or ""

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        """Run a query; the BEGIN of a transaction brings its scope with it."""
        # Every transaction of asyncpg begins here. Without this it would keep the session's
        # scope, so that what is not known to be equal is set.
        if query.startswith("BEGIN"):
            wanted = self.wanted()
            if wanted != self.scoped:
                query += f" SET LOCAL {SETTING} = {_quoted(wanted)}"
        return await super().execute(query, *args, timeout=timeout)

    async def rescope(self) -> None:
        """Set the session's scope to the wanted one; not to be used inside a transaction."""
        wanted = self.wanted()
        # Whoever is cancelled here does not learn whether it was set.
        self.scoped = None
        await super().execute(f"SET {SETTING} = {_quoted(wanted)}")
        self.scoped = wanted


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
