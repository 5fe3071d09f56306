"""Control steps that wait: for time, for an event or a signal, for a person."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from schemas.durations import Duration
from schemas.errors import ExpressionError
from schemas.policies import Strict
from schemas.step_base import EventType, Expression, OnTimeout, StepBase, StepLists
from schemas.zones import load_zone

if TYPE_CHECKING:
    from schemas.steps import Step

SignalName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.-]{0,62}$")]
ClockTime = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$")]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def check_zone(name: str) -> str:
    """Refuse a name that is no zone; a template is judged at run time. Raises ValueError."""
    if "{{" not in name:
        try:
            load_zone(name)
        except ExpressionError as error:
            raise ValueError(error.message) from None
    return name


Zone = Annotated[str, AfterValidator(check_zone)]


class Window(Strict):
    """The hours of the week in which a delay may end, in local time of `timezone`.

    `from` belongs to the window and `to` does not; with `to` at or before `from` it runs over
    midnight and belongs to the day on which it opens. `timezone` is an IANA name and may hold
    {{ }}; without it the definition's counts.
    """

    days: Annotated[list[Day], Field(min_length=1)] = Field(default_factory=lambda: list(DAYS))
    from_: ClockTime = Field(default="00:00", alias="from")
    to: ClockTime = "24:00"
    timezone: Zone | None = None


class Delay(StepBase):
    """Sleeps `for` a duration or `until` a CEL timestamp, then until the `window` is open."""

    type: Literal["delay"]
    for_: Duration | None = Field(default=None, alias="for")
    until: Expression | None = None
    window: Window | None = None

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        given = (self.for_ is not None) + (self.until is not None)
        if given > 1 or (given == 0 and self.window is None):
            raise ValueError("a delay needs exactly one of 'for' and 'until', or a 'window' alone")
        return self


class Source(Strict):
    """One thing to wait for: a signal by name, or an event by type and key.

    `where` is CEL over the run's scope and `event` (id, type, key, data, time).
    """

    signal: SignalName | None = None
    event: EventType | None = None
    key: Annotated[str, Field(min_length=1)] | None = None
    where: Expression | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        _check_source(self)
        return self


class Wait(StepBase):
    """Waits for an event or a signal, or for `any` or `all` of several.

    Output is its data; for `any` {index, source, data}, for `all` the list of their data; null
    after `on_timeout: continue`. What came since the run started and was not taken counts.
    """

    type: Literal["wait"]
    signal: SignalName | None = None
    event: EventType | None = None
    key: Annotated[str, Field(min_length=1)] | None = None
    where: Expression | None = None
    any: Annotated[list[Source], Field(min_length=1, max_length=20)] | None = None
    all: Annotated[list[Source], Field(min_length=1, max_length=20)] | None = None
    timeout: Duration | None = None
    on_timeout: OnTimeout = "fail"

    @model_validator(mode="after")
    def _whole(self) -> Self:
        several = (self.any is not None) + (self.all is not None)
        single = any(value is not None for value in (self.signal, self.event, self.key, self.where))
        if several > 1 or (several and single):
            raise ValueError("a wait needs one of 'signal', 'event', 'any' and 'all'")
        if not several:
            _check_source(self)
        if self.timeout is None and "on_timeout" in self.model_fields_set:
            raise ValueError("'on_timeout' needs 'timeout'")
        return self

    def sources(self) -> list[Source]:
        """What is waited for, in order."""
        if self.any is not None or self.all is not None:
            return self.any or self.all or []
        given = {"signal": self.signal, "event": self.event, "key": self.key, "where": self.where}
        return [Source(**given)]

    def visible_lists(self) -> StepLists:
        """What runs after the timeout."""
        return [("on_timeout", self.on_timeout)] if isinstance(self.on_timeout, list) else []


def _check_source(source: Source | Wait) -> None:
    if (source.signal is None) == (source.event is None):
        raise ValueError("exactly one of 'signal' and 'event' is needed")
    if source.event is not None and source.key is None:
        raise ValueError("'event' needs 'key': which of the events of this type is meant")
    if source.signal is not None and (source.key is not None or source.where is not None):
        raise ValueError("'key' and 'where' belong to 'event'")


class Remind(Strict):
    """Steps that run every so often while an approval is open; `index` counts them from 0."""

    every: Duration
    max: Annotated[int, Field(ge=1, le=100)] = 10
    do: "Annotated[list[Step], Field(min_length=1)]"


class Escalate(Strict):
    """After so long the people in `to` may answer as well, and the steps run."""

    after: Duration
    to: list[str] | str = Field(default_factory=list)
    do: "list[Step]" = Field(default_factory=list)


class Approval(StepBase):
    """A task for people: `approvals` of the assignees must approve; one rejection decides.

    The answer's data are checked against the JSON Schema `form`. Output is {decision, data, by,
    answers}; decision is `approved`, `rejected`, or `timed_out` after `on_timeout: continue`.
    """

    type: Literal["approval"]
    assignees: Annotated[list[str], Field(min_length=1, max_length=50)] | str
    description: str | None = None
    form: dict[str, Any] = Field(default_factory=lambda: {"type": "object"})
    approvals: Annotated[int, Field(ge=1, le=50)] = 1
    timeout: Duration | None = None
    on_timeout: OnTimeout = "fail"
    remind: Remind | None = None
    escalate: Escalate | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.timeout is None and "on_timeout" in self.model_fields_set:
            raise ValueError("'on_timeout' needs 'timeout'")
        later = self.escalate.to if self.escalate else []
        if isinstance(self.assignees, list) and isinstance(later, list):
            people = len({*self.assignees, *later})
            if "{{" not in str(self.assignees) + str(later) and self.approvals > people:
                raise ValueError(f"{self.approvals} approvals need as many people, not {people}")
        return self

    def visible_lists(self) -> StepLists:
        """What runs after the timeout."""
        return [("on_timeout", self.on_timeout)] if isinstance(self.on_timeout, list) else []

    def hidden_lists(self) -> StepLists:
        """Reminders and escalation."""
        lists: StepLists = [("remind.do", self.remind.do)] if self.remind else []
        if self.escalate:
            lists.append(("escalate.do", self.escalate.do))
        return [*lists, *self.recovery_lists()]
