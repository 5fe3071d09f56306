"""Simulations as the API takes and gives them."""

from typing import Any

from pydantic import BaseModel, Field

from api.models.common import Closed
from schemas.run import ErrorInfo, RunStatus


class Simulate(Closed):
    """A definition and one case of a test file for it."""

    definition: dict[str, Any] | str = Field(
        description="a definition as data, or as YAML or JSON text; nothing is stored",
        examples=[{"name": "hello", "steps": [{"id": "think", "type": "delay", "for": "3d"}]}],
    )
    case: dict[str, Any] = Field(
        default_factory=dict,
        description="as in a test file: input, lead, mocks, checks, variants, events, signals, "
        "answers, operators, expect",
        examples=[{"input": {}, "expect": {"min_virtual_time": "3d"}}],
    )


class SimulatedCoverage(BaseModel):
    """Which edges of the definition the case took."""

    percent: float
    edges: int
    taken: int
    missed: list[str]


class Simulated(BaseModel):
    """What came of a case; `failures` are expectations that do not hold."""

    name: str
    ok: bool
    failures: list[str]
    problems: list[str] = Field(description="what the case lacks: a mock, an answer to a check")
    warnings: list[str]
    status: RunStatus
    output: Any = None
    error: ErrorInfo | None = None
    waits_for: str | None = None
    path: list[str] = Field(description="the steps that ran, in the order in which they began")
    steps: list[dict[str, Any]]
    mails: list[dict[str, Any]]
    emitted: list[dict[str, Any]]
    vars: dict[str, Any]
    lead: dict[str, Any] | None = None
    virtual_time: str = Field(examples=["3d"])
    real_ms: float
    coverage: SimulatedCoverage
