"""AI budgets, circuits and what calls have cost, as the API takes and gives them."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from api.models.common import Closed
from db.ai_breakers import CircuitState
from db.ai_reports import UsageSum

Dollars = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]
Tokens = Annotated[int, Field(ge=0, le=10**12)]


class UsageFigures(BaseModel):
    """What calls to models were and cost.

    `calls` were answered, `cached` needed no call, `repairs` of the calls asked for a correction,
    `failed` were refused without cost. `open` are under way or their end is unknown, and may cost
    up to `open_cost_usd`. `unpriced` calls have no known price and are not in `cost_usd`.
    """

    calls: int
    cached: int
    repairs: int
    failed: int
    open: int
    unpriced: int
    input_tokens: int
    output_tokens: int
    cost_usd: float
    open_cost_usd: float


class UsageGroup(UsageFigures):
    """The figures of one day, definition, run, step or model; other keys are null."""

    day: str | None = Field(default=None, description="in UTC", examples=["2026-01-31"])
    definition: str | None = None
    run_id: str | None = None
    step: str | None = Field(default=None, description="its path; `each[].send` for all iterations")
    provider: str | None = None
    model: str | None = None


class UsageReport(BaseModel):
    """The groups, days newest first, others the dearest first."""

    group_by: str
    items: list[UsageGroup]


class RunUsage(BaseModel):
    """What the AI steps of a run cost, and its budget; null is without limit.

    Of `used_usd` and `used_tokens` the calls under way count at their estimate.
    """

    run_id: str
    total: UsageFigures
    steps: list[UsageGroup]
    budget_usd: float | None
    budget_tokens: int | None
    used_usd: float
    used_tokens: int


class BudgetInput(Closed):
    """What the workspace may spend on AI in a day (UTC); null is without limit."""

    daily_usd: Dollars | None = None
    daily_tokens: Tokens | None = None


class BudgetView(BudgetInput):
    """The workspace's daily budget, and what of it is used; it begins anew at `resets_at`."""

    source: Literal["api", "settings"]
    used_usd: float
    used_tokens: int
    resets_at: datetime


class CircuitView(BaseModel):
    """A circuit breaker: open, nobody asks the endpoint until `open_until`, then a few may try."""

    endpoint: str
    state: CircuitState
    failures: int
    open_until: datetime | None
    last_error: str | None
    updated_at: datetime


def figures(row: UsageSum) -> UsageGroup:
    """Turn sums of the ledger into what is shown."""
    values = row.model_dump(exclude={"cost", "open_cost"})
    return UsageGroup(**values, cost_usd=float(row.cost), open_cost_usd=float(row.open_cost))


def total(rows: list[UsageSum]) -> UsageFigures:
    """Add up sums of the ledger."""
    groups = [figures(row) for row in rows]
    return UsageFigures.model_validate(
        {name: sum(getattr(group, name) for group in groups) for name in UsageFigures.model_fields}
    )
