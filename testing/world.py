"""The world of one case: what it answers to the run, and what the run did to it."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from schemas import expressions
from schemas.definition import Definition
from schemas.run import Event, Lead, Projection, RunStatus, StepRecord
from schemas.step_base import StepBase
from schemas.steps import Approval, SubRun
from testing.cases import Attempt, Case
from testing.loading import Template, step_id

_OPEN_ENDED = (RunStatus.WAITING, RunStatus.PAUSED)


@dataclass(frozen=True)
class Mail:
    """A mail that an email step sent; `text` is there where it is known."""

    step: str
    to: list[str]
    subject: str | None
    template: str | None
    data: dict[str, Any]
    text: str | None


@dataclass(frozen=True)
class Verdict:
    """A choice on the way: `path` as the run names it (`each[0].if`), `value` what was chosen."""

    kind: str
    path: str
    value: Any


@dataclass(frozen=True)
class Subscription:
    """Events that a run has asked for."""

    workflow_id: str
    path: str
    type: str
    key: str


@dataclass
class World:
    """One case's world; times are virtual. `key` is the key of the step that calls."""

    definition: Definition
    case: Case
    run_id: str
    lead: Lead | None
    began: datetime
    templates: Mapping[str, Template] | None = None
    mails: list[Mail] = field(default_factory=list)
    emitted: list[Event] = field(default_factory=list)
    steps: dict[str, StepRecord] = field(default_factory=dict)
    verdicts: list[Verdict] = field(default_factory=list)
    decisions: dict[str, list[str]] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    subscriptions: list[Subscription] = field(default_factory=list)
    deadlines: dict[str, datetime] = field(default_factory=dict)
    outbox: list[tuple[str, Event]] = field(default_factory=list)
    parts: set[str] = field(default_factory=set)
    stuck: bool = False
    final: bool = False
    held: bool = False
    key: str = ""
    effects: dict[str, int] = field(default_factory=dict)
    _calls: Counter[str] = field(default_factory=Counter)
    _by_id: dict[str, StepBase] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Index the steps."""
        self._by_id = self.definition.by_id()

    def render(self, value: Any) -> Any:
        """Render {{ }} of a case over `run.now`, its start; raises ExpressionError."""
        return expressions.render(value, {"run": {"now": self.began.isoformat()}})

    def step(self, path: str) -> StepBase | None:
        """Give the step at a path; None for one that the definition has not."""
        return self._by_id.get(step_id(path))

    def effect(self) -> tuple[int, bool]:
        """Give the number of the effect of the step that calls, and whether it had one before.

        A step has one key over all its attempts; whoever is called twice with it knows that.
        """
        known = self.key in self.effects
        return self.effects.setdefault(self.key, len(self.effects) + 1), known

    def next_attempt(self, path: str) -> Attempt | None:
        """Give what the case answers to the next call of a step; its last answer is repeated."""
        mock = _named(self.case.mocks, path)
        if mock is None:
            return None
        self._calls[path] += 1
        return mock[min(self._calls[path], len(mock)) - 1]

    def next_verdict(self, path: str) -> bool | None:
        """Give what the case answers to the next named check of a condition."""
        answers = _named(self.case.checks, path)
        if answers is None:
            return None
        self._calls[path] += 1
        return answers[min(self._calls[path], len(answers)) - 1]

    def variant(self, path: str) -> str | None:
        """Give the variant that the case wants of a split; None leaves it to the key."""
        return _named(self.case.variants, path)

    def judge(self, kind: str, path: str, value: Any) -> Any:
        """Keep a verdict that chose the way; gives it back."""
        self.verdicts.append(Verdict(kind, path, value))
        return value

    def record(self, projection: Projection) -> None:
        """Keep what the run and its batches project: each step's latest, and all its errors."""
        if projection.run_id != self.run_id and projection.run_id not in self.parts:
            return
        for step in projection.steps:
            self.steps[step.path] = step
            if step.until is not None:
                self.deadlines[step.path] = step.until
            if step.error is not None:
                codes = self.faults.setdefault(step.path, [])
                if step.error.code not in codes:
                    codes.append(step.error.code)
        if projection.run_id == self.run_id:
            # Nothing but the outside can wake it: no virtual time will.
            open_ended = projection.status in _OPEN_ENDED and projection.until is None
            self.stuck = open_ended and not any(map(self._has_timers, self.steps.values()))

    def _has_timers(self, record: StepRecord) -> bool:
        """True for a step that waits without a deadline, and yet does something meanwhile."""
        step = self._by_id.get(record.id)
        if record.status.done or not isinstance(step, Approval | SubRun):
            return False
        return isinstance(step, SubRun) or bool(step.remind or step.escalate)

    def subscribe(self, request: Mapping[str, Any]) -> list[Event]:
        """Keep a subscription; gives the events that came since, oldest first."""
        asked = Subscription(
            request["workflow_id"], request["path"], request["type"], request["key"]
        )
        if asked not in self.subscriptions:
            self.subscriptions.append(asked)
        after = request.get("after", 0)
        return [
            keyed(event, asked.key)
            for event in self.events
            if _fits(event, asked) and (event.seq or 0) > after
        ]

    def publish(
        self, kind: str, key: str | None, data: Any, now: datetime
    ) -> list[tuple[str, Event]]:
        """Keep an event; gives the workflow ids to tell at once, with what to tell them."""
        seq = len(self.events) + 1
        event = Event(
            id=f"event-{seq}",
            source="test",
            type=kind,
            key=key or "",
            data=data,
            time=now,
            seq=seq,
        )
        self.events.append(event)
        told: dict[tuple[str, str], Event] = {}
        for asked in self.subscriptions:
            if _fits(event, asked):
                told[asked.workflow_id, asked.key] = keyed(event, asked.key)
        return [(workflow_id, each) for (workflow_id, _), each in told.items()]


def keyed(event: Event, key: str) -> Event:
    """Give an event that was posted without a key the key that is asked for."""
    return event if event.key else event.model_copy(update={"key": key})


def _fits(event: Event, asked: Subscription) -> bool:
    return event.type == asked.type and event.key in ("", asked.key)


def _named(answers: Mapping[str, Any], path: str) -> Any:
    """Find by the path, then by the path with the iterations left out, then by the id."""
    for name in (path, re.sub(r"\[\d+\]", "", path), step_id(path)):
        if name in answers:
            return answers[name]
    return None
