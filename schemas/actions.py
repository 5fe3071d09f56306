"""What the language knows of an action: its name, schemas and defaults."""

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, NamedTuple, Protocol

from pydantic import BaseModel, Field

from schemas.durations import Duration
from schemas.policies import DEFAULT_TIMEOUT, Retry


class ParameterFault(NamedTuple):
    """What an action itself says against a step's parameters; `name` is the parameter's."""

    name: str
    message: str
    hint: str | None = None


ParameterCheck = Callable[[Mapping[str, Any]], Iterable[ParameterFault]]


class ActionSpec(BaseModel):
    """One entry of the action catalogue; `params` and `result` are JSON Schemas.

    `check` judges a step's `with` beyond its schema, expressions unrendered.
    """

    name: str
    summary: str
    params: dict[str, Any]
    result: dict[str, Any]
    timeout: Duration = Field(default=DEFAULT_TIMEOUT, description="of one attempt")
    at_most_once: bool = Field(
        default=False, description="its steps may say `delivery: at_most_once`"
    )
    check: ParameterCheck | None = Field(default=None, exclude=True, repr=False)


class Catalogue(Protocol):
    """Every action that definitions may name."""

    def specs(self) -> Mapping[str, ActionSpec]:
        """Action name to its entry, in the order of names."""
        ...


def action_timeouts(catalogue: Catalogue) -> dict[str, timedelta]:
    """Give the actions' own default timeouts where they differ from the language's."""
    return {
        name: spec.timeout
        for name, spec in catalogue.specs().items()
        if spec.timeout != DEFAULT_TIMEOUT
    }


class StepContext(BaseModel):
    """What an action is told about the step it works for; travels as its second argument.

    `key` is the step key `{run_id}:{path}`: the same over all attempts and continue-as-new. When
    an operator sent the run back, `~{round}` follows: what runs again takes effect again.
    """

    workspace: str
    definition: str
    run_id: str
    path: str
    lead_id: str | None = None
    correlation_id: str | None = None
    round: int = 0
    attempts: int = Field(default=0, description="attempts before this activity's first")
    retry: dict[str, Any] = Field(default_factory=dict, description="the step's Retry policy")
    turns: bool = Field(default=False, description="the run itself waits for a step's turn")

    once: bool = Field(default=False, description="`delivery: at_most_once`")
    limit: int = Field(default=Retry().attempts, description="with `once`: the step's attempts")

    @property
    def key(self) -> str:
        """The step key."""
        key = f"{self.run_id}:{self.path}"
        return f"{key}~{self.round}" if self.round else key
