"""Whether Temporal is known to be away, so that no start waits in vain for its answer."""

import time
from collections.abc import Callable

from workflows.gateway import Gateway

PROBE_EVERY = 1.0


class Circuit:
    """Opens with the first start that Temporal does not take; closes when its health is good.

    While it is open, one caller a second asks for the health, the others are told at once. State
    of one process: each finds out for itself.
    """

    def __init__(self, gateway: Gateway, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Watch the Temporal of `gateway`; `clock` gives seconds."""
        self._gateway = gateway
        self._clock = clock
        self._next_probe: float | None = None

    async def closed(self) -> bool:
        """True if a start is worth its time."""
        if self._next_probe is None:
            return True
        if self._clock() < self._next_probe:
            return False
        self._next_probe = self._clock() + PROBE_EVERY
        if (await self._gateway.health()).temporal:
            self.passed()
            return True
        return False

    def failed(self) -> None:
        """Note that Temporal did not take a start."""
        self._next_probe = self._clock() + PROBE_EVERY

    def passed(self) -> None:
        """Note that it did."""
        self._next_probe = None
