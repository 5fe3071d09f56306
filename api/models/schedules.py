"""What the API says of schedules."""

from datetime import datetime

from pydantic import AwareDatetime, BaseModel, Field

from api.models.common import Closed


class DueTime(BaseModel):
    """One time at which a schedule is due."""

    time: datetime = Field(description="in UTC")
    local_time: datetime = Field(description="on the clock of the schedule's zone")
    note: str | None = Field(default=None, description="what summer time does to it")


class SchedulePreview(BaseModel):
    """The next times of a schedule, were it not to rest; jitter is not in them."""

    items: list[DueTime]
    skipped: list[datetime] = Field(
        description="local times among them that the clock skips, which start nothing"
    )
    resting: bool = Field(description="paused or disabled: nothing starts for now")
    written: bool = Field(description="Temporal knows the schedule as it is now")


class BackfillInput(Closed):
    """A stretch of the past; both ends count."""

    from_: AwareDatetime = Field(alias="from", examples=["2026-03-01T00:00:00Z"])
    to: AwareDatetime = Field(examples=["2026-03-02T00:00:00Z"])


class FilledTime(BaseModel):
    """A due time of the past and its run; `created` is false when it had it before."""

    time: datetime
    run_id: str
    created: bool


class BackfillAnswer(BaseModel):
    """The due times of the stretch, oldest first."""

    items: list[FilledTime]
    created: int = Field(description="how many runs were ordered now")


class FiredAnswer(BaseModel):
    """A run that was ordered; it starts as soon as Temporal and flow control let it."""

    run_id: str
