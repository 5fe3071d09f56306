"""What an action knows besides its parameters."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from activities.logs import Level, LogLines
from activities.services import Services
from db.run_log_table import LogSource
from schemas.actions import StepContext
from schemas.policies import Retry

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
    lines: LogLines = field(default_factory=LogLines, repr=False, compare=False)

    @property
    def spent(self) -> bool:
        """True for the attempt after the step's last: it may only look what became of it."""
        return self.attempt > Retry.model_validate(self.step.retry).attempts

    @property
    def budget(self) -> float:
        """Seconds the action may take: the timeout less a margin to report its own error in."""
        return (self.timeout - min(self.timeout * _MARGIN_SHARE, _MARGIN_MAX)).total_seconds()

    def log(self, level: Level, message: str, /, **metadata: Any) -> None:
        """Add a line to the run's log: masked, and written with others when the attempt ends.

        Lines are kept whether the attempt succeeds or fails; one that cannot be written fails
        nothing. Raises ValueError for a level other than debug, info, warning and error.
        """
        self.lines.add(level, message, metadata)

    def printed(self, *lines: str) -> None:
        """Add what a program of the definition's author printed, a line of the log each."""
        for line in lines:
            self.lines.add("info", line, source=LogSource.CODE)
