"""Token buckets in this process: how often something may happen, by name."""

import time
from collections import OrderedDict
from collections.abc import Callable

# Names that are remembered; the one unused for longest is forgotten, and begins full again.
MOST = 20_000


class Buckets:
    """A bucket for each name: it holds `per_minute` tokens and fills at that rate.

    Each API process counts for itself: behind N of them the limit is up to N times as high.
    """

    def __init__(
        self, per_minute: int | None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Let everything pass where `per_minute` is None; `clock` is in seconds."""
        self._size = per_minute
        self._clock = clock
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, name: str) -> float:
        """Give the seconds until there is a token; 0 where there is one."""
        if self._size is None:
            return 0.0
        level = self._level(name, self._size)
        return 0.0 if level >= 1 else (1 - level) * 60 / self._size

    def take(self, name: str) -> float:
        """Take a token; gives 0, or the seconds until there is one, and takes none."""
        if self._size is None:
            return 0.0
        level = self._level(name, self._size)
        if level < 1:
            return (1 - level) * 60 / self._size
        self._levels[name] = (level - 1, self._clock())
        self._levels.move_to_end(name)
        if len(self._levels) > MOST:
            self._levels.popitem(last=False)
        return 0.0

    def _level(self, name: str, size: int) -> float:
        level, at = self._levels.get(name, (float(size), 0.0))
        return min(float(size), level + (self._clock() - at) * size / 60)
