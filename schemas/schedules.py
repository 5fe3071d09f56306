"""Schedule triggers: when they are due, in which zone, and what two runs at once may do."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    Field,
    field_validator,
    model_validator,
)

from schemas import cel
from schemas.cron import Cron, parse_cron
from schemas.durations import Duration
from schemas.errors import ExpressionError
from schemas.policies import Strict
from schemas.zones import load_zone

# The workflow type that a Temporal schedule starts, and its one activity.
GATE = "sojourn.gate"
ORDER_SCHEDULED = "order_scheduled"

_SECOND = timedelta(seconds=1)
_LIMITS = {
    "every": (_SECOND, timedelta(days=366)),
    "offset": (timedelta(0), timedelta(days=366)),
    "catchup": (timedelta(seconds=10), timedelta(days=7)),
    "jitter": (timedelta(0), timedelta(days=1)),
}
# What `schedule` looks like to an expression.
SCHEDULE_TYPE = cel.object_type({"id": cel.STRING, "time": cel.STRING, "local_time": cel.STRING})


class Overlap(StrEnum):
    """What happens when a schedule is due while a run that it started is still open."""

    SKIP = "skip"
    BUFFER_ONE = "buffer_one"
    ALLOW = "allow"
    CANCEL_OTHER = "cancel_other"


def _zone_name(name: str) -> str:
    try:
        load_zone(name)
    except ExpressionError as error:
        raise ValueError(f"{error.message}; write it as Europe/Berlin") from None
    return name


def _cron_text(text: str) -> str:
    parse_cron(text)
    return text


ZoneName = Annotated[str, Field(max_length=64), AfterValidator(_zone_name)]
CronText = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_cron_text)]


class ScheduleTrigger(Strict):
    """When a schedule is due: by `cron` on the wall clock of `timezone`, or `every` so often.

    Intervals count from 1970-01-01T00:00Z, moved on by `offset`; they know no wall clock. `dst` is
    for cron alone: a wall-clock time that comes twice runs once; one that the clock skips does not
    run (`skip`), or runs at the moment of the jump (`once`). After an outage what was due up to
    `catchup` ago is made good. Temporal delays each firing by up to `jitter`.
    """

    cron: CronText | None = Field(
        default=None,
        description="five fields: minute hour day month weekday, or @daily and its like",
        examples=["30 9 * * MON-FRI"],
    )
    every: Duration | None = Field(default=None, description="1s to 366d", examples=["15m"])
    offset: Duration = Field(default=timedelta(0), description="moves an interval's times on")
    timezone: ZoneName = Field(default="UTC", examples=["Europe/Berlin"])
    overlap: Overlap = Overlap.SKIP
    catchup: Duration = Field(default=timedelta(minutes=10), description="10s to 7d")
    jitter: Duration = Field(default=timedelta(0), description="at most 1d")
    start_at: AwareDatetime | None = Field(default=None, description="nothing is due before it")
    end_at: AwareDatetime | None = Field(default=None, description="nothing is due after it")
    paused: bool = False
    dst: Literal["skip", "once"] = "skip"

    @field_validator("every", "offset", "catchup", "jitter")
    @classmethod
    def _limited(cls, value: timedelta | None, info: Any) -> timedelta | None:
        if value is None:
            return None
        low, high = _LIMITS[info.field_name]
        if not low <= value <= high:
            raise ValueError(f"must be from {low} to {high}")
        if value % _SECOND:
            raise ValueError("must be a whole number of seconds")
        return value

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.cron is None) == (self.every is None):
            raise ValueError("give either 'cron' or 'every'")
        if self.offset and (self.every is None or self.offset >= self.every):
            raise ValueError("'offset' belongs to 'every' and must be shorter")
        if self.start_at and self.end_at and self.end_at < self.start_at:
            raise ValueError("'end_at' is before 'start_at'")
        return self

    @property
    def zone(self) -> ZoneInfo:
        """The time zone, from tzdata."""
        return load_zone(self.timezone)

    @property
    def cron_of(self) -> Cron:
        """The cron expression in its parts; not for intervals."""
        assert self.cron is not None, "an interval has no cron expression"
        return parse_cron(self.cron)

    def slot(self, moment: datetime) -> str:
        """Name the slot of a due time: the same name never runs twice.

        For cron it is the wall-clock time with its zone, so that an hour that comes twice is one.
        """
        if self.every is not None:
            return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return f"{self.timezone}/{moment.astimezone(self.zone):%Y-%m-%dT%H:%M}"


def schedule_view(trigger_id: str, config: ScheduleTrigger, moment: datetime) -> dict[str, str]:
    """Give what `schedule` is to an expression: the due time in UTC and in the zone."""
    return {
        "id": trigger_id,
        "time": moment.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "local_time": moment.astimezone(config.zone).isoformat(),
    }


class SlotCall(BaseModel):
    """What a gate asks: order the run that was `due` then. `gate_started` is Temporal's clock."""

    workspace: str
    trigger_id: str
    due: AwareDatetime
    gate_started: AwareDatetime


class SlotOutcome(StrEnum):
    """What became of a due time."""

    ORDERED = "ordered"
    DUPLICATE = "duplicate"  # it has its run already
    SKIPPED = "skipped"  # a run of the trigger is open
    BUFFERED = "buffered"  # ordered when the open run has ended
    NOT_DUE = "not_due"  # around a jump of the clock Temporal may be wrong
    LATE = "late"  # past catching up
    RESTING = "resting"  # paused, disabled or deleted meanwhile
    FAILED = "failed"  # the trigger's `last_error` says why


class SlotAnswer(BaseModel):
    """What became of a due time, and the run that it has."""

    outcome: SlotOutcome
    run_id: str | None = None
    message: str | None = None
