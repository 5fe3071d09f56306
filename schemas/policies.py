"""Policies that any step may carry: timeouts, retries, what an error does."""

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.durations import Duration

Priority = Annotated[int, Field(ge=1, le=5, description="1 first ... 5 last")]
OnError = Literal["fail", "continue"]
Code = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,63}$")]

DEFAULT_TIMEOUT = timedelta(seconds=30)


class Strict(BaseModel):
    """Base of the language's models: an unknown field is refused, never ignored."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, serialize_by_alias=True)


class Retry(Strict):
    """How often and when a failed action is tried again.

    Attempt n waits `initial * factor^(n-1)`, at most `max`; with `jitter` a random time between
    half of that and all of it. `only` and `except` name error codes.
    """

    attempts: Annotated[int, Field(ge=1, le=100)] = 4
    initial: Duration = timedelta(seconds=1)
    factor: Annotated[float, Field(ge=1, le=10)] = 2
    max: Duration = timedelta(seconds=60)
    jitter: bool = True
    only: list[Code] = Field(default_factory=list)
    except_: list[Code] = Field(default_factory=list, alias="except")

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.initial > self.max:
            raise ValueError("initial must not be longer than max")
        return self


class Defaults(Strict):
    """What steps use when they say nothing themselves."""

    timeout: Duration | None = None
    retry: Retry | None = None


class Limits(Strict):
    """Limits of one definition."""

    run_timeout: Duration | None = Field(
        default=None, description="the whole run ends as timed out"
    )
