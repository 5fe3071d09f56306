"""What came of a case."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from schemas.definition import Definition
from schemas.run import ErrorInfo, Event, Lead, RunStatus, StepRecord, StepStatus
from testing.world import Mail, Verdict


@dataclass
class Outcome:
    """One run of a case: its end, its way, and what it did to the world.

    `virtual` is the run's own time, `real` the seconds it took here. `failures` are expectations
    that do not hold, `problems` what the case lacks; either makes the case fail. `steps` are in
    the order in which they began.
    """

    definition: Definition
    name: str
    status: RunStatus
    output: Any = None
    error: ErrorInfo | None = None
    steps: dict[str, StepRecord] = field(default_factory=dict)
    verdicts: list[Verdict] = field(default_factory=list)
    faults: dict[str, list[str]] = field(default_factory=dict)
    timed_out: list[str] = field(default_factory=list)
    decisions: dict[str, list[str]] = field(default_factory=dict)
    mails: list[Mail] = field(default_factory=list)
    emitted: list[Event] = field(default_factory=list)
    vars: dict[str, Any] = field(default_factory=dict)
    lead: Lead | None = None
    goal_reached: bool = False
    waits_for: str | None = None
    virtual: timedelta = timedelta(0)
    real: float = 0.0
    failures: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """True when everything that was expected holds."""
        return not self.failures and not self.problems

    @property
    def path(self) -> list[str]:
        """The paths of the steps that ran, in the order in which they began."""
        return [path for path, step in self.steps.items() if step.status is not StepStatus.SKIPPED]


def parting(wanted: Sequence[str], found: Sequence[str]) -> tuple[str, str, str]:
    """Say where two paths part: after which step, what the first has next, what the second."""
    same = 0
    while same < min(len(wanted), len(found)) and wanted[same] == found[same]:
        same += 1
    after = f"after {wanted[same - 1]!r}" if same else "at the start"
    nexts = [repr(path[same]) if same < len(path) else "the end" for path in (wanted, found)]
    return after, nexts[0], nexts[1]
