"""Two workers, of which the one that has lived longest is killed and comes back."""

import asyncio
import random
import time

from dev.processes import Child
from tests.faults.evidence import Kill
from tests.faults.mixture import Mixture
from tests.faults.stand import Stand, until

_GAP = (0.3, 3.0)  # seconds between two kills


class Killer:
    """Kills workers at random moments; use it as `async with Killer(…) as killer`."""

    def __init__(self, stand: Stand, mixture: Mixture, moments: random.Random) -> None:
        self.stand = stand
        self.mixture = mixture
        self.moments = moments
        self.kills: list[Kill] = []
        self._workers: list[asyncio.Task[Child]] = []

    async def __aenter__(self) -> "Killer":
        self._spawn()
        self._spawn()
        return self

    async def __aexit__(self, *_: object) -> None:
        ends = await asyncio.gather(*self._workers, return_exceptions=True)
        for worker in ends:
            if isinstance(worker, Child):
                worker.kill()

    def _spawn(self) -> None:
        settings = self.mixture.settings
        self._workers.append(asyncio.create_task(self.stand.start_other_worker(**settings)))

    async def first(self) -> Child:
        """Give the older worker once it polls."""
        return await self._workers[0]

    async def _calls(self) -> bool:
        return bool(self.mixture.sink.open or self.stand.smtp.open)

    async def kill(self) -> None:
        """Kill the older worker at a random moment, every other time inside a call.

        Notes what that has hit.
        """
        victim = await self.first()
        if len(self.kills) % 2 == 0:
            await until(self._calls, "a call is under way")
        else:
            await asyncio.sleep(self.moments.uniform(*_GAP))
        at = time.time()
        victim.kill()
        cut = (*self.mixture.sink.open, *(one.message_id for one in self.stand.smtp.open))
        self.kills.append(Kill(at, await self.mixture.open(), cut))
        self._workers.pop(0)
        self._spawn()
