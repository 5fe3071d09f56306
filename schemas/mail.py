"""What a connection says of its mails beside where they go: rate, frequency cap, tracking."""

from typing import Annotated

from pydantic import Field

from schemas.durations import Duration
from schemas.policies import Strict


class PerLead(Strict):
    """At most `count` mails for one lead in any time of the length `per`."""

    count: Annotated[int, Field(ge=1, le=1000)]
    per: Duration


class Tracking(Strict):
    """What is counted of a mail: `opens` by a pixel, `clicks` by links that lead through us."""

    opens: bool = False
    clicks: bool = False


class MailPolicy(Strict):
    """How mails of one connection leave; what is above the rate waits for its turn."""

    rate_per_minute: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        default=None, description="mails a minute; what is above waits"
    )
    burst: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=1, description="mails that leave at once after a rest, under `rate_per_minute`"
    )
    per_lead: PerLead | None = Field(
        default=None, description="a mail above it is not sent, and its step says so"
    )
    tracking: Tracking = Field(default_factory=Tracking)
