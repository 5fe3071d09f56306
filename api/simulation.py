"""What the API needs of a simulator; the composition root brings it where it is installed."""

from typing import Any, Protocol

from schemas.definition import Definition


class Simulator(Protocol):
    """Runs a definition against a case's fakes with time skipped."""

    async def simulate(self, definition: Definition, given: dict[str, Any]) -> dict[str, Any]:
        """Give the outcome of a case; raises InputError for a bad one."""
        ...
