"""The steps of the language: control steps are a closed grammar, actions an open set."""

from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator
from typing_extensions import TypeAliasType

from schemas.durations import Duration
from schemas.errors import ErrorCode
from schemas.policies import Code, Priority, Retry
from schemas.step_base import ErrorRoute, StepBase, StepId
from schemas.steps_agent import Agent, AgentTool
from schemas.steps_flow import (
    Branch,
    Case,
    Condition,
    ForEach,
    Parallel,
    Repeat,
    Split,
    Switch,
    Variant,
)
from schemas.steps_wait import Approval, Delay, Escalate, Remind, Wait

# A workflow task must not be held up for longer by a local activity.
MAX_INLINE_TIMEOUT = timedelta(seconds=5)
# RFC 9110, 9.2.1, without TRACE.
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
DEFINITION_NAME = r"^[a-z][a-z0-9-]{0,62}$"


class SubRun(StepBase):
    """Runs another definition as a child run.

    `mode: wait` with `depends`: `blocking` waits for its end and fails with it; `conditional`
    waits and gives {run_id, status, output, error} whatever the end was; `parallel` goes on at
    once, and the run ends only after the child, failing with it. `mode: detach` starts it and
    forgets it. Output of the two that go on at once is {run_id}.
    """

    type: Literal["workflow"]
    definition: Annotated[str, Field(pattern=DEFINITION_NAME)]
    version: Annotated[int, Field(ge=1)] | None = None
    input: dict[str, Any] = Field(default_factory=dict)
    mode: Literal["wait", "detach"] = "wait"
    depends: Literal["blocking", "parallel", "conditional"] = "blocking"

    @model_validator(mode="after")
    def _mode(self) -> Self:
        if self.mode == "detach" and "depends" in self.model_fields_set:
            raise ValueError("'depends' needs 'mode: wait': nobody looks at a detached run's end")
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
    execution: Literal["auto", "queued", "inline"] = Field(
        default="auto",
        description="inline: a local activity, for calls of at most 5 s that may run again after "
        "a crash; auto: inline for http with a safe method and such a timeout",
    )
    delivery: Literal["at_least_once", "at_most_once"] = Field(
        default="at_least_once",
        description="what becomes of an effect in doubt: tried again, or parked until an operator "
        "decides; for email, webhook, mcp, and http with an unsafe method",
    )

    @property
    def once(self) -> bool:
        """Whether the step's effect must never happen twice."""
        return self.delivery == "at_most_once"

    def error_action(self, code: str) -> "str | list[Step]":
        """What an error does; without an `on_error` an effect in doubt waits for an operator."""
        undecided = "on_error" not in self.model_fields_set
        if self.once and undecided and code == ErrorCode.DELIVERY_UNKNOWN:
            return "pause"
        return super().error_action(code)

    @model_validator(mode="after")
    def _once(self) -> Self:
        if not self.once:
            return self
        if self.execution == "inline":
            raise ValueError("an inline step may run again after a crash: not 'at_most_once'")
        method = str(self.with_.get("method", "GET")).upper()
        if self.type == "http" and method in SAFE_METHODS:
            raise ValueError(f"{method} changes nothing: 'delivery' has no meaning here")
        return self

    @model_validator(mode="after")
    def _short(self) -> Self:
        if self.execution == "inline" and (self.timeout or timedelta(0)) > MAX_INLINE_TIMEOUT:
            raise ValueError("an inline step's timeout is at most 5s")
        if self.execution == "inline" and self.priority is not None:
            raise ValueError("an inline step waits in no queue; 'priority' has no meaning here")
        return self


CONTROL_KINDS: dict[str, type[StepBase]] = {
    "condition": Condition,
    "switch": Switch,
    "split": Split,
    "parallel": Parallel,
    "for_each": ForEach,
    "repeat": Repeat,
    "delay": Delay,
    "wait": Wait,
    "approval": Approval,
    "agent": Agent,
    "workflow": SubRun,
    "set": SetVars,
    "fail": Fail,
    "stop": Stop,
}


def _tag(value: Any) -> str:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return kind if isinstance(kind, str) and kind in CONTROL_KINDS else "action"


# A named alias: without a name Pydantic would unfold the grammar into itself, kind by kind.
Step = TypeAliasType(
    "Step",
    Annotated[
        Annotated[Condition, Tag("condition")]
        | Annotated[Switch, Tag("switch")]
        | Annotated[Split, Tag("split")]
        | Annotated[Parallel, Tag("parallel")]
        | Annotated[ForEach, Tag("for_each")]
        | Annotated[Repeat, Tag("repeat")]
        | Annotated[Delay, Tag("delay")]
        | Annotated[Wait, Tag("wait")]
        | Annotated[Approval, Tag("approval")]
        | Annotated[Agent, Tag("agent")]
        | Annotated[SubRun, Tag("workflow")]
        | Annotated[SetVars, Tag("set")]
        | Annotated[Fail, Tag("fail")]
        | Annotated[Stop, Tag("stop")]
        | Annotated[ActionStep, Tag("action")],
        Discriminator(_tag),
    ],
)

_NAMESPACE = {"Step": Step}
for _model in (
    ErrorRoute,
    StepBase,
    Condition,
    Case,
    Switch,
    Variant,
    Split,
    Branch,
    Parallel,
    ForEach,
    Repeat,
    Delay,
    Wait,
    Remind,
    Escalate,
    Approval,
    AgentTool,
    Agent,
    SubRun,
    SetVars,
    Fail,
    Stop,
    ActionStep,
):
    _model.model_rebuild(_types_namespace=_NAMESPACE)
