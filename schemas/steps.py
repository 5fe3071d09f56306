"""The steps of the language: control steps are a closed grammar, actions an open set."""

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from schemas.durations import Duration
from schemas.policies import Code, OnError, Priority, Retry, Strict

ID_PATTERN = r"^[a-z][a-z0-9_]{0,62}$"
StepId = Annotated[str, Field(pattern=ID_PATTERN)]
SignalName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.-]{0,62}$")]
Expression = Annotated[str, Field(min_length=1, description="a CEL expression")]
MAX_BRANCHES = 50
MAX_ITEMS = 200

NAMED_CHECKS = (
    "budget_qualification",
    "reply_received",
    "booking_completed",
    "email_opened",
    "email_clicked",
)


class StepBase(Strict):
    """What every step may have."""

    id: StepId
    title: Annotated[str, Field(max_length=200)] | None = None
    if_: Expression | None = Field(default=None, alias="if", description="guard: false skips")
    depends_on: list[StepId] | None = None
    on_error: OnError = "fail"
    output: Any = Field(default=None, description="replaces the step's own output; may hold {{ }}")

    def step_lists(self) -> list[tuple[str, "list[Step]"]]:
        """The nested step lists with their field paths, in order."""
        return []


class Condition(StepBase):
    """Chooses `then` or `else` by a CEL verdict or by a named check; `if` here is the verdict."""

    type: Literal["condition"]
    check: (
        Literal[
            "budget_qualification",
            "reply_received",
            "booking_completed",
            "email_opened",
            "email_clicked",
        ]
        | None
    ) = None
    with_: dict[str, Any] = Field(default_factory=dict, alias="with")
    then: "list[Step]" = Field(default_factory=list)
    else_: "list[Step]" = Field(default_factory=list, alias="else")

    @model_validator(mode="after")
    def _one_verdict(self) -> Self:
        if (self.if_ is None) == (self.check is None):
            raise ValueError("a condition needs exactly one of 'if' and 'check'")
        if self.if_ is not None and self.with_:
            raise ValueError("'with' belongs to 'check'")
        return self

    def step_lists(self) -> list[tuple[str, "list[Step]"]]:
        """Both ways."""
        return [("then", self.then), ("else", self.else_)]


class Case(Strict):
    """One case of a switch: `is` compares with the value of `on`, `if` is an expression."""

    is_: Any = Field(default=None, alias="is")
    if_: Expression | None = Field(default=None, alias="if")
    do: "list[Step]"

    @model_validator(mode="after")
    def _one_test(self) -> Self:
        if ("is_" in self.model_fields_set) == (self.if_ is not None):
            raise ValueError("a case needs exactly one of 'is' and 'if'")
        return self


class Switch(StepBase):
    """Runs the first case that matches, else `default`."""

    type: Literal["switch"]
    on: Expression | None = None
    cases: Annotated[list[Case], Field(min_length=1, max_length=100)]
    default: "list[Step]" = Field(default_factory=list)

    @model_validator(mode="after")
    def _on(self) -> Self:
        if self.on is None and any(case.if_ is None for case in self.cases):
            raise ValueError("cases with 'is' need 'on'")
        return self

    def step_lists(self) -> list[tuple[str, "list[Step]"]]:
        """Every case, then the default."""
        lists = [(f"cases[{i}].do", case.do) for i, case in enumerate(self.cases)]
        return [*lists, ("default", self.default)]


class Branch(Strict):
    """One branch of a parallel step."""

    name: StepId
    do: "list[Step]"


class Parallel(StepBase):
    """Runs all branches at once and waits for all; output is {branch name: last output}."""

    type: Literal["parallel"]
    branches: Annotated[list[Branch], Field(min_length=1, max_length=MAX_BRANCHES)]
    join: Literal["all"] = "all"

    @model_validator(mode="after")
    def _names(self) -> Self:
        names = [branch.name for branch in self.branches]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"branch names must differ: {', '.join(twice)}")
        return self

    def step_lists(self) -> list[tuple[str, "list[Step]"]]:
        """Every branch."""
        return [(f"branches[{i}].do", branch.do) for i, branch in enumerate(self.branches)]


class ForEach(StepBase):
    """Runs `do` for every item, `concurrency` at a time; output is the list of last outputs."""

    type: Literal["for_each"]
    items: Any = Field(description="a list, or {{ CEL }} that gives one; at most 200 items")
    as_: StepId = Field(default="item", alias="as")
    concurrency: Annotated[int, Field(ge=1, le=MAX_BRANCHES)] = 10
    do: "Annotated[list[Step], Field(min_length=1)]"

    def step_lists(self) -> list[tuple[str, "list[Step]"]]:
        """The body."""
        return [("do", self.do)]


class Delay(StepBase):
    """Sleeps `for` a duration or `until` a CEL timestamp."""

    type: Literal["delay"]
    for_: Duration | None = Field(default=None, alias="for")
    until: Expression | None = None

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        if (self.for_ is None) == (self.until is None):
            raise ValueError("a delay needs exactly one of 'for' and 'until'")
        return self


class Wait(StepBase):
    """Waits for a signal; output is the signal's data, or null after `on_timeout: continue`."""

    type: Literal["wait"]
    signal: SignalName
    timeout: Duration | None = None
    on_timeout: Literal["fail", "continue"] = "fail"

    @model_validator(mode="after")
    def _timeout(self) -> Self:
        if self.timeout is None and "on_timeout" in self.model_fields_set:
            raise ValueError("'on_timeout' needs 'timeout'")
        return self


class SetVars(StepBase):
    """Sets `vars` for later steps; values may hold {{ }}; output is what was set."""

    type: Literal["set"]
    vars: Annotated[dict[StepId, Any], Field(min_length=1)]


class Fail(StepBase):
    """Fails the run with a code and a message."""

    type: Literal["fail"]
    code: Code = "STEP_FAILED"
    message: str = "the definition ended the run with a failure"

    @model_validator(mode="after")
    def _fails(self) -> Self:
        if self.on_error != "fail":
            raise ValueError("a fail step fails the run; 'on_error' has no meaning here")
        return self


class Stop(StepBase):
    """Completes the run at once; `output` is the run's output."""

    type: Literal["stop"]


class ActionStep(StepBase):
    """A step whose `type` names an action; `with` holds its parameters and may hold {{ }}."""

    type: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.-]{0,62}$")]
    with_: dict[str, Any] = Field(default_factory=dict, alias="with")
    timeout: Duration | None = Field(default=None, description="of one attempt")
    retry: Retry | None = None
    priority: Priority | None = None


CONTROL_KINDS: dict[str, type[StepBase]] = {
    "condition": Condition,
    "switch": Switch,
    "parallel": Parallel,
    "for_each": ForEach,
    "delay": Delay,
    "wait": Wait,
    "set": SetVars,
    "fail": Fail,
    "stop": Stop,
}


def _tag(value: Any) -> str:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return kind if kind in CONTROL_KINDS else "action"


Step = Annotated[
    Annotated[Condition, Tag("condition")]
    | Annotated[Switch, Tag("switch")]
    | Annotated[Parallel, Tag("parallel")]
    | Annotated[ForEach, Tag("for_each")]
    | Annotated[Delay, Tag("delay")]
    | Annotated[Wait, Tag("wait")]
    | Annotated[SetVars, Tag("set")]
    | Annotated[Fail, Tag("fail")]
    | Annotated[Stop, Tag("stop")]
    | Annotated[ActionStep, Tag("action")],
    Discriminator(_tag),
]

for _model in (Condition, Case, Switch, Branch, Parallel, ForEach):
    _model.model_rebuild()
