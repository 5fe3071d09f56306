"""Exceptions that unwind the interpreter; none of them leaves it."""

from typing import Any

from schemas.errors import StepError
from schemas.run import ErrorInfo


class StopRun(Exception):
    """A `stop` step: the run completes at once with `output`."""

    def __init__(self, output: Any) -> None:
        """Carry the run's output."""
        super().__init__("stop")
        self.output = output


class Quiesce(Exception):
    """The run is about to continue as new: nothing new starts, timers keep their deadline."""


class RunFailed(StepError):
    """A step failed and its `on_error` is `fail`: the run fails with the step's error."""

    def __init__(self, error: ErrorInfo) -> None:
        """Carry the error as the run keeps it."""
        super().__init__(error.message, code=error.code)
        self.error = error


class Aborted(RunFailed):
    """An operator aborted a held step: the run fails, whatever would deal with an error."""
