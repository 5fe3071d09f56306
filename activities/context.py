"""What an action knows besides its parameters."""

import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from activities.logs import Level, LogLines
from activities.masking import masked
from activities.services import Services
from db import artifacts
from db.run_log_table import LogSource
from schemas.actions import StepContext

_MARGIN_SHARE = 0.1
_PREVIEW = 500
_MAX_KIND = 200
_TEXT = re.compile(r"text/|application/([\w.+-]*\+)?(json|xml|yaml)\b")
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
        return self.attempt > self.step.limit

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

    @property
    def keeps(self) -> bool:
        """True where what is too large for the step's output can be kept beside it."""
        return self.services.database is not None

    async def keep(self, content: bytes, content_type: str) -> dict[str, Any] | None:
        """Keep what is too large for the step's output as an artifact; gives its reference.

        Secrets of the attempt are hidden in it. None where there is nothing to keep it with: no
        database, or no row of the run.
        """
        database = self.services.database
        if database is None:
            return None
        text = content.decode("utf-8", "surrogateescape")
        hidden = masked(text)
        if hidden is not text:
            content = hidden.encode("utf-8", "surrogateescape")
        kind = content_type[:_MAX_KIND]
        async with database.session() as session:
            identity = await artifacts.store(
                session, self.step.workspace, self.step.run_id, self.step.path, content, kind
            )
        if identity is None:
            return None
        found: dict[str, Any] = {
            "artifact": identity,
            "size": len(content),
            "content_type": kind,
        }
        if _TEXT.match(kind):
            shown = hidden[:_PREVIEW].encode("utf-8", "replace").decode()
            found["preview"] = shown.replace("\x00", "\ufffd")
        return found

    def printed(self, *lines: str) -> None:
        """Add what a program of the definition's author printed, a line of the log each."""
        for line in lines:
            self.lines.add("info", line, source=LogSource.CODE)
