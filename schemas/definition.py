"""A workflow definition: what a person writes, publishes and runs."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field

from schemas.policies import Defaults, Limits, Priority, Strict
from schemas.steps import Step, StepBase

NAME_PATTERN = r"^[a-z][a-z0-9-]{0,62}$"
DefinitionName = Annotated[str, Field(pattern=NAME_PATTERN)]
MAX_BYTES = 512 * 1024
MAX_STEPS = 500
MAX_DEPTH = 16


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
    steps: Annotated[list[Step], Field(min_length=1)]


def walk(steps: list[Step], path: str = "steps") -> Iterator[tuple[str, StepBase]]:
    """Give every step with its path (`steps[0].then[1]`), parents before children."""
    for index, step in enumerate(steps):
        here = f"{path}[{index}]"
        yield here, step
        for field, nested in step.step_lists():
            yield from walk(nested, f"{here}.{field}")
