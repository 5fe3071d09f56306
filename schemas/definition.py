"""A workflow definition: what a person writes, publishes and runs."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from schemas.policies import Defaults, Limits, Priority, Strict
from schemas.step_base import EventType, Expression, StepBase, StepLists
from schemas.steps import DEFINITION_NAME, Step
from schemas.steps_wait import Zone

DefinitionName = Annotated[str, Field(pattern=DEFINITION_NAME)]
MAX_BYTES = 512 * 1024
MAX_STEPS = 500
MAX_DEPTH = 16


class Goal(Strict):
    """An event that ends a run early, wherever it stands; `where` as in a wait."""

    event: EventType
    key: Annotated[str, Field(min_length=1)]
    where: Expression | None = None


class Definition(Strict):
    """A whole definition, as stored, published and carried by every run of it."""

    name: DefinitionName
    title: Annotated[str, Field(max_length=200)] | None = None
    description: Annotated[str, Field(max_length=4000)] | None = None
    engine: Literal[1] = 1
    input: dict[str, Any] = Field(
        default_factory=lambda: {"type": "object"},
        description="JSON Schema of the run's input",
    )
    output: Any = Field(default=None, description="the run's output; may hold {{ }}")
    defaults: Defaults = Field(default_factory=Defaults)
    limits: Limits = Field(default_factory=Limits)
    priority: Priority = 3
    timezone: Zone = Field(
        default="UTC", description="IANA zone of the run's windows; may hold {{ }}"
    )
    compensation: Literal["full", "selective"] = Field(
        default="full", description="selective: only what completed after the nearest savepoint"
    )
    steps: Annotated[list[Step], Field(min_length=1)]
    on_failure: list[Step] = Field(
        default_factory=list, description="run when the run fails; `error` is in scope"
    )
    goal: Goal | None = None
    on_goal: list[Step] = Field(
        default_factory=list, description="run when the goal is reached; `event` is in scope"
    )

    @model_validator(mode="after")
    def _goal(self) -> Self:
        if self.on_goal and self.goal is None:
            raise ValueError("'on_goal' needs 'goal'")
        return self

    def top_lists(self) -> StepLists:
        """The step lists of the definition itself with their field paths."""
        lists = [("steps", self.steps), ("on_failure", self.on_failure), ("on_goal", self.on_goal)]
        return [(path, steps) for path, steps in lists if steps]

    def walk(self) -> Iterator[tuple[str, StepBase]]:
        """Give every step of every list with its path, parents before children."""
        for path, steps in self.top_lists():
            yield from walk(steps, path)

    def by_id(self) -> dict[str, StepBase]:
        """Give every step of every list by its id; walks the whole definition."""
        return {step.id: step for _, step in self.walk()}


def walk(steps: list[Step], path: str = "steps") -> Iterator[tuple[str, StepBase]]:
    """Give every step with its path (`steps[0].then[1]`), parents before children."""
    for index, step in enumerate(steps):
        here = f"{path}[{index}]"
        yield here, step
        for field, nested in step.step_lists():
            yield from walk(nested, f"{here}.{field}")
