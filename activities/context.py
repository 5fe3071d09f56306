"""What an action knows besides its parameters."""

from dataclasses import dataclass
from datetime import timedelta

from activities.services import Services
from schemas.actions import StepContext

_MARGIN_SHARE = 0.1
_MARGIN_MAX = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class ActionContext:
    """The step an action works for, the services it may use, and its attempt (from 1).

    `timeout` is the time of the whole attempt, from its start.
    """

    step: StepContext
    services: Services
    attempt: int = 1
    timeout: timedelta = timedelta(seconds=30)

    @property
    def budget(self) -> float:
        """Seconds the action may take: the timeout less a margin to report its own error in."""
        return (self.timeout - min(self.timeout * _MARGIN_SHARE, _MARGIN_MAX)).total_seconds()
