"""Virtual time: a heap of callbacks, with small random delays for what the language leaves open."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

Callback = Callable[[], None]


@dataclass(order=True)
class Timer:
    """One callback at one time in seconds; a cancelled one is passed over."""

    time: float
    number: int
    call: Callback = field(compare=False)
    cancelled: bool = field(default=False, compare=False)


class Clock:
    """A discrete-event simulation of one run; `now` is in seconds since its start."""

    def __init__(self, random: Random) -> None:
        """Start at 0; `random` draws how long what takes no virtual time takes after all."""
        self.now = 0.0
        self._random = random
        self._heap: list[Timer] = []
        self._count = 0

    def at(self, time: float, call: Callback) -> Timer:
        """Call at a time, or now if it is past."""
        self._count += 1
        timer = Timer(max(time, self.now), self._count, call)
        heapq.heappush(self._heap, timer)
        return timer

    def soon(self, call: Callback) -> Timer:
        """Call after a moment: milliseconds to seconds, so that simultaneous things change order.

        Spread over magnitudes, so that a branch of one step can end after one of many.
        """
        return self.at(self.now + self.moment(), call)

    def moment(self) -> float:
        """Draw how long (s) something takes that takes no virtual time."""
        return 10 ** self._random.uniform(-3, 1.3)

    def run(self) -> None:
        """Call everything in the order of time."""
        while self._heap:
            timer = heapq.heappop(self._heap)
            if not timer.cancelled:
                self.now = timer.time
                timer.call()
