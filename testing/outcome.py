"""What came of a case."""

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
