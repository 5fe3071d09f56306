"""What the API says of how long rows are kept."""

from datetime import datetime

from pydantic import BaseModel, Field

from api.models.common import Closed


class RetentionPolicyView(BaseModel):
    """How long one kind of rows is kept, in days; null is for ever."""

    subject: str
    about: str
    days: int | None
    default_days: int | None
    least: int = Field(description="no policy may be shorter")


class RetentionPolicies(BaseModel):
    """All policies, in the order of pruning."""

    items: list[RetentionPolicyView]


class RetentionInput(Closed):
    """Policies to set, by subject, in days; null is for ever. Others stay."""

    policies: dict[str, int | None] = Field(
        min_length=1, max_length=50, examples=[{"runs": 30, "audit": None}]
    )


class AgeView(BaseModel):
    """How many rows are younger than so many days and not in the bucket before; null: any age."""

    under_days: int | None
    rows: int


class RetentionStatistics(BaseModel):
    """How many rows one subject has, and how old they are."""

    subject: str
    rows: int
    oldest: datetime | None
    ages: list[AgeView]
    due: int = Field(description="rows that pruning would take now")


class RetentionStatisticsList(BaseModel):
    """The rows of all subjects."""

    items: list[RetentionStatistics]


class PruneInput(Closed):
    """Whether only to count; it takes the rows for at most ten seconds."""

    dry_run: bool = True


class PruneAnswer(BaseModel):
    """How many rows of each subject went, or would; `more` when the time was up."""

    dry_run: bool
    rows: dict[str, int]
    more: bool = False
