"""The workspaces that this process serves, for the loops that look after all of them."""

import time
from collections.abc import Awaitable, Callable

from db import tenancy, workspaces
from db.engine import Database
from schemas.errors import UnavailableError

# Seconds. So long a new workspace may wait until its schedules and due runs are looked after.
KEPT = 5.0


class Tenants:
    """All workspaces: the installation's own, and those that have a row."""

    def __init__(self, database: Database, home: str) -> None:
        """Look nothing up yet."""
        self._database = database
        self._home = home
        self._names: list[str] = []
        self._until = 0.0

    async def names(self) -> list[str]:
        """Name them; raises UnavailableError."""
        if time.monotonic() >= self._until:
            with tenancy.system():
                async with self._database.session() as session:
                    self._names = await workspaces.names(session, self._home)
            self._until = time.monotonic() + KEPT
        return self._names

    async def busy(self) -> list[str]:
        """Name those for which an event or a start is left to be delivered."""
        names = await self.names()
        if len(names) == 1:
            return names
        with tenancy.system():
            async with self._database.session() as session:
                return await workspaces.busy(session, names)

    async def each(
        self, work: Callable[[str], Awaitable[object]], names: list[str] | None = None
    ) -> None:
        """Do the work for each, in its scope; the fault of one is raised after the others' turn.

        UnavailableError is raised at once: what is away is away for all of them.
        """
        fault: Exception | None = None
        for name in await self.names() if names is None else names:
            try:
                with tenancy.scope(name):
                    await work(name)
            except UnavailableError:
                raise
            except Exception as error:
                # One workspace's rows must not stop the others'; the loop logs it.
                fault = fault or error
        if fault is not None:
            raise fault
