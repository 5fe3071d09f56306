"""Stretches: straight runs of inline steps that one local activity takes one after the other."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field
from pydantic_core import to_json

from schemas import expressions
from schemas.errors import SojournError
from schemas.run import MAX_OUTPUT_BYTES, StepStatus

STRETCH = "stretch"
MAX_STRETCH_STEPS = 20
# What comes from outside (a pause, say) waits for the stretch, and Temporal keeps its results in
# one payload: after so much of either no further step is begun.
MAX_STRETCH_SECONDS = 1.5
MAX_STRETCH_BYTES = 512 * 1024


class PlannedStep(BaseModel):
    """One step of a stretch; `context` is a dumped StepContext, `timeout` one attempt's (s)."""

    path: str
    id: str
    type: str
    with_: dict[str, Any] = Field(default_factory=dict)
    output: Any = None
    timeout: float
    context: dict[str, Any]


class Plan(BaseModel):
    """What a stretch needs: its steps, and of the run only the variables that they name.

    `params` are those of the first step, rendered. `room` is how many bytes of outputs the run may
    still keep, `now` the run's time.
    """

    steps: list[PlannedStep]
    params: Any
    variables: dict[str, Any]
    room: int
    now: datetime


class StretchFailure(BaseModel):
    """An action's failure with what the interpreter reads of it; `delay` is in seconds."""

    code: str | None = None
    message: str
    details: Any = None
    permanent: bool = False
    delay: float | None = None


class Outcome(BaseModel):
    """One step that a stretch has run: its rendered parameters, and how it ended.

    The first step's `input` is the interpreter's own. Without `failure`, `timed_out` and
    `cancelled` the step has its `result`.
    """

    path: str
    type: str
    input: Any = None
    attempt: int = 1
    result: Any = None
    failure: StretchFailure | None = None
    timed_out: bool = False
    cancelled: bool = False
    started_at: datetime
    finished_at: datetime

    @property
    def succeeded(self) -> bool:
        """True for a step that has a result."""
        return self.failure is None and not self.timed_out and not self.cancelled


class Scope:
    """The variables of a stretch's steps, as the steps before them leave them."""

    def __init__(self, plan: Plan) -> None:
        """Begin with what the plan gives."""
        self._variables = dict(plan.variables)
        self._steps: dict[str, Any] = dict(self._variables.get("steps", {}))
        self._variables["steps"] = self._steps
        self._room = plan.room

    def render(self, value: Any, now: datetime) -> Any:
        """Render a value at a time of the run; raises SojournError."""
        if "run" in self._variables:
            self._variables["run"] = {**self._variables["run"], "now": now.isoformat()}
        return expressions.render(value, self._variables)

    def add(self, step: PlannedStep, result: Any, now: datetime) -> bool:
        """Show a step's output to the steps after it.

        False where the interpreter will not take it: then nothing follows.
        """
        view = {"output": result, "status": StepStatus.COMPLETED.value, "error": None}
        self._steps[step.id] = view
        if step.output is not None:
            try:
                view["output"] = self.render(step.output, now)
            except SojournError:
                return False
        size = 0 if view["output"] is None else len(to_json(view["output"]))
        self._room -= size
        return size <= MAX_OUTPUT_BYTES and self._room >= 0
