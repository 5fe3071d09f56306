"""Heartbeats of activities that take long: whoever waits learns soon that a worker is lost."""

import asyncio
import logging
from datetime import timedelta
from typing import Self

from temporalio import activity

HEARTBEAT_EVERY = timedelta(seconds=3)
_logger = logging.getLogger(__name__)


def beating() -> "Heartbeats":
    """Beat for the running activity, if it is one that has to."""
    return Heartbeats(activity.info().heartbeat_timeout)


class Heartbeats:
    """Heartbeats in the background: a lost worker is noticed early, and a cancel gets through.

    A timer of the loop, not a task: most actions end before the first beat.
    """

    def __init__(self, timeout: timedelta | None) -> None:
        """Beat three times in each `timeout`, every three seconds at least; never without one."""
        self._every = min(HEARTBEAT_EVERY, timeout / 3).total_seconds() if timeout else None
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        """Begin."""
        self._schedule()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        if self._timer is not None:
            self._timer.cancel()

    def _schedule(self) -> None:
        if self._every is not None:
            self._timer = asyncio.get_running_loop().call_later(self._every, self._beat)

    def _beat(self) -> None:
        try:
            activity.heartbeat()
        except Exception as error:
            # A failed heartbeat must not undo the work: the server's timeout judges it instead.
            _logger.warning("heartbeats stopped early: %r", error)
            return
        self._schedule()
