"""The test file: cases of one definition, each a run with its world and what must come of it."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from schemas.durations import Duration
from schemas.policies import Code, Strict
from schemas.run import RunStatus, StepStatus
from schemas.steps_wait import ClockTime, Day

MAX_CASES = 1000
_OUTCOME = {"result", "error", "timeout"}


class Fault(Strict):
    """An error that a mocked step fails with; `retryable` as the action itself would say it."""

    code: Code = "STEP_FAILED"
    message: str = "the test case makes this step fail"
    retryable: bool = True


class Attempt(Strict):
    """What one attempt of a mocked step gives: a result, an error, or no answer in time."""

    result: Any = None
    error: Fault | None = None
    timeout: Literal[True] | None = None

    @model_validator(mode="after")
    def _one_outcome(self) -> Self:
        if len(self.model_fields_set & _OUTCOME) != 1:
            raise ValueError("an attempt needs exactly one of 'result', 'error' and 'timeout'")
        return self


def _attempts(value: Any) -> Any:
    """Read the short forms: a plain result, or one outcome for every attempt."""
    if isinstance(value, list):
        return value
    if isinstance(value, dict) and len(value) == 1 and _OUTCOME.issuperset(value):
        return [value]
    return [{"result": value}]


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


Mock = Annotated[list[Attempt], Field(min_length=1), BeforeValidator(_attempts)]
Verdicts = Annotated[list[bool], Field(min_length=1), BeforeValidator(_listed)]


class LeadGiven(Strict):
    """The lead of a case's run."""

    id: str = "lead"
    email: str
    name: str | None = None
    company: str | None = None
    status: str = "new"
    fields: dict[str, Any] = Field(default_factory=dict)


class Timed(Strict):
    """Something that happens at a time since the run's start."""

    at: Duration


class EventAt(Timed):
    """An event; without `key` it fits every key that a step of the run waits for."""

    type: str
    key: str | None = None
    data: Any = None


class SignalAt(Timed):
    """A signal to the run."""

    name: str
    data: Any = None


class AnswerAt(Timed):
    """A person's answer to the approval at a step path."""

    step: str
    decision: Literal["approved", "rejected"]
    data: dict[str, Any] = Field(default_factory=dict)
    by: str


class OperatorAt(Timed):
    """What an operator does: to the run, or to a held step."""

    action: Literal["pause", "resume", "cancel", "retry", "skip", "abort", "set_vars", "rewind"]
    step: str | None = None
    input: dict[str, Any] | None = None
    output: Any = None
    vars: dict[str, Any] | None = None
    by: str = "operator"

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.action in ("retry", "skip", "abort", "rewind") and self.step is None:
            raise ValueError(f"{self.action!r} needs 'step'")
        if (self.action == "set_vars") != (self.vars is not None):
            raise ValueError("'set_vars' and 'vars' go together")
        return self


class MailExpected(Strict):
    """A mail that must have been sent; fields that are not given are not looked at."""

    to: str | list[str] | None = None
    subject: str | None = None
    template: str | None = None
    data: dict[str, Any] | None = Field(default=None, description="entries the data must hold")
    text: str | None = Field(default=None, description="a part of the text")
    step: str | None = None


class ErrorExpected(Strict):
    """The error of a failed run."""

    code: str | None = None
    message: str | None = Field(default=None, description="a part of the message")
    step: str | None = None


class LeadExpected(Strict):
    """The lead after the run."""

    status: str | None = None
    fields: dict[str, Any] = Field(default_factory=dict)


class EventExpected(Strict):
    """An event that the run must have published."""

    type: str
    key: str | None = None
    data: Any = None


class Expect(Strict):
    """What must come of a run; what is not given is not looked at.

    Without `status` the run must be completed, or failed when an `error` is given.
    """

    status: RunStatus | None = None
    output: Any = None
    error: ErrorExpected | None = None
    path: list[str] | None = Field(
        default=None, description="paths of all steps that ran, in the order in which they began"
    )
    steps: dict[str, StepStatus | Literal["absent"]] = Field(default_factory=dict)
    mails: list[MailExpected] | None = None
    emitted: list[EventExpected] | None = None
    vars: dict[str, Any] = Field(default_factory=dict)
    lead: LeadExpected | None = None
    attempts: dict[str, int] = Field(default_factory=dict, description="by step path")
    max_virtual_time: Duration | None = None
    min_virtual_time: Duration | None = None

    @property
    def wanted_status(self) -> RunStatus:
        """The status that the run must have."""
        if self.status is not None:
            return self.status
        return RunStatus.FAILED if self.error is not None else RunStatus.COMPLETED


class Begins(Strict):
    """A time of the week; a run that depends on the day can start at it."""

    day: Day
    at: ClockTime = "09:00"
    timezone: str = "UTC"


class Case(Strict):
    """One run: what starts it, what the world answers, and what must come of it.

    `mocks`, `checks` and `variants` go by step path, else by step id. Strings in `input` and
    `mocks` may hold {{ CEL }} over `run.now`, the time of the start: "{{ run.now + days(30) }}".
    """

    name: Annotated[str, Field(min_length=1, max_length=200)]
    begins: Begins | None = None
    input: dict[str, Any] = Field(default_factory=dict)
    lead: LeadGiven | None = None
    mocks: dict[str, Mock] = Field(default_factory=dict)
    checks: dict[str, Verdicts] = Field(default_factory=dict)
    variants: dict[str, str] = Field(
        default_factory=dict, description="splits: variant by step, in place of the key's own"
    )
    events: list[EventAt] = Field(default_factory=list)
    signals: list[SignalAt] = Field(default_factory=list)
    answers: list[AnswerAt] = Field(default_factory=list)
    operators: list[OperatorAt] = Field(default_factory=list)
    expect: Expect = Field(default_factory=Expect)


def _different(cases: list[Case]) -> list[Case]:
    names = [case.name for case in cases]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"the names of cases must differ: {', '.join(twice)}")
    return cases


class Cases(Strict):
    """A whole test file; paths are relative to it.

    With `templates`, a folder of stored templates as the API takes them, mails are rendered and
    an unknown template fails its step; without it templates are believed.
    """

    definition: str
    templates: str | None = None
    cases: Annotated[
        list[Case], Field(min_length=1, max_length=MAX_CASES), AfterValidator(_different)
    ]
