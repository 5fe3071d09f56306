"""Analytics as the API gives them. Rates are shares from 0 to 1, null where nothing counts."""

from datetime import date, datetime

from pydantic import BaseModel, Field

Share = float | None


class RunStatistics(BaseModel):
    """Runs by status; durations are of completed runs, from their start to their end."""

    total: int
    by_status: dict[str, int]
    success_rate: Share = Field(
        description="completed among those that completed, failed or timed out"
    )
    p50_ms: float | None
    p95_ms: float | None


class VersionStatistics(RunStatistics):
    """The runs of one version."""

    version: int


class AiStatistics(BaseModel):
    """What AI steps used: `calls` were answered by a model; the cost is of priced models."""

    calls: int
    input_tokens: int
    output_tokens: int
    cost_usd: float


class DefinitionAnalytics(BaseModel):
    """Runs of a definition that were made in the time asked for."""

    definition: str
    version: int | None
    since: datetime = Field(alias="from")
    until: datetime | None = Field(alias="to")
    runs: RunStatistics
    versions: list[VersionStatistics]
    errors: dict[str, int] = Field(description="failed and timed out runs by error code")
    ai: AiStatistics


class StepStatistics(BaseModel):
    """Steps of one id, over all runs and iterations."""

    step: str
    type: str
    total: int
    by_status: dict[str, int]
    started: int = Field(description="whose guard let them begin")
    completed: int
    failed: int
    skipped: int
    completion_rate: Share = Field(description="completed among the started")
    failure_rate: Share = Field(description="failed among the started")
    retried: int = Field(description="that needed more than one attempt")
    retries: int = Field(description="further attempts")
    mean_ms: float | None
    errors: dict[str, int] = Field(description="by code, also where the run went on")


class StepsAnalytics(BaseModel):
    """The steps of a definition's runs, in the order of their ids."""

    definition: str
    retries: int
    errors: dict[str, int]
    steps: list[StepStatistics]


class WaitingStatistics(BaseModel):
    """Steps of one id that wait now."""

    step: str
    type: str
    waiting: int
    oldest: datetime | None = Field(description="since when the first of them waits")
    next: datetime | None = Field(description="when the next of their timers ends")


class Wakes(BaseModel):
    """How many timers end on a day (UTC); the first day has those that are overdue, too."""

    day: date
    timers: int


class WaitingAnalytics(BaseModel):
    """What waits now, and what wakes on the days ahead, whenever the runs were made."""

    definition: str
    waiting: list[WaitingStatistics]
    wakes: list[Wakes]


class FunnelStage(BaseModel):
    """People who came so far; the rate is of all who were written to."""

    stage: str
    people: int
    rate: Share


class MailStatistics(BaseModel):
    """Mails of one step."""

    step: str
    sent: int
    opened: int
    clicked: int
    replied: int
    bounced: int
    unsubscribed: int


class FunnelAnalytics(BaseModel):
    """What came of the mails that a definition's runs sent."""

    definition: str
    stages: list[FunnelStage]
    bounced: int
    unsubscribed: int
    steps: list[MailStatistics]


class VariantStatistics(BaseModel):
    """Runs with one variant; `low` and `high` are the rate's 95 % interval (Wilson's score)."""

    variant: str
    runs: int
    open: int = Field(description="not ended yet: they may still convert")
    conversions: int
    rate: Share
    low: float
    high: float


class VariantsAnalytics(BaseModel):
    """The readout of a split step."""

    definition: str
    step: str
    goal: str
    variants: list[VariantStatistics]


class DefinitionStatistics(RunStatistics):
    """The runs of one definition."""

    definition: str


class OverviewAnalytics(BaseModel):
    """All definitions of the workspace, those with the most runs first."""

    since: datetime = Field(alias="from")
    until: datetime | None = Field(alias="to")
    runs: RunStatistics
    definitions: list[DefinitionStatistics]
    ai: AiStatistics
