"""Policies of steps (timeouts, retries, what an error does) and the limits of a definition."""

from datetime import timedelta
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.durations import Duration

Priority = Annotated[int, Field(ge=1, le=5, description="1 first ... 5 last")]
OnError = Literal["fail", "continue"]
Code = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,63}$")]

Key = Annotated[str, Field(min_length=1, description="a CEL expression over `input`")]

DEFAULT_TIMEOUT = timedelta(seconds=30)
MAX_SLOTS = 100_000
MAX_RATE = 1_000_000


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


# Of actions that pace their attempts themselves, where nobody says otherwise.
OWN_RETRIES: Final = {"webhook": Retry(attempts=10)}


class Defaults(Strict):
    """What steps use when they say nothing themselves."""

    timeout: Duration | None = None
    retry: Retry | None = None


class KeyedRuns(Strict):
    """At most `runs` runs at once among those whose `key` gives the same value."""

    key: Key
    runs: Annotated[int, Field(ge=1, le=MAX_SLOTS)] = 1


class Singleton(Strict):
    """One run at a time: of the definition, or with `key` of those for which it gives one value.

    A start that meets a run is refused (skip), waits for its end (queue), or ends it and waits for
    that (cancel_running); of those that wait so, the newest replaces the others.
    """

    key: Key | None = None
    mode: Literal["skip", "queue", "cancel_running"] = "skip"


class Debounce(Strict):
    """A start waits for `for`; the newest one meanwhile with the same `key` replaces it."""

    key: Key | None = None
    for_: Annotated[Duration, Field(alias="for")]

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.for_ <= timedelta(0):
            raise ValueError("must be longer than 0s")
        return self


class Limits(Strict):
    """Limits of one definition; starts beyond those of flow control wait in a queue."""

    run_timeout: Duration | None = Field(
        default=None, description="the whole run ends as timed out"
    )
    ai_budget: Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)] | None = Field(
        default=None, description="USD that the AI steps of one run may cost"
    )
    ai_tokens: Annotated[int, Field(ge=0, le=10**12)] | None = Field(
        default=None, description="tokens that the AI steps of one run may use"
    )
    concurrent_runs: Annotated[int, Field(ge=1, le=MAX_SLOTS)] | None = Field(
        default=None, description="runs at once; more starts wait, the oldest first"
    )
    concurrency: KeyedRuns | None = Field(
        default=None, description="runs at once for each value of a key"
    )
    starts_per_minute: Annotated[int, Field(ge=1, le=MAX_RATE)] | None = Field(
        default=None, description="the API refuses more with RATE_LIMITED; triggers wait"
    )
    singleton: Singleton | None = Field(default=None, description="one run at a time")
    debounce: Debounce | None = Field(
        default=None, description="of starts that follow each other closely the newest counts"
    )

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if self.singleton is not None and self.concurrency is not None:
            raise ValueError("'singleton' is a 'concurrency' of one run; set only one of them")
        return self

    def key_sources(self) -> list[tuple[str, str]]:
        """Give the field path and the source of every key."""
        found = {
            "concurrency.key": self.concurrency and self.concurrency.key,
            "singleton.key": self.singleton and self.singleton.key,
            "debounce.key": self.debounce and self.debounce.key,
        }
        return [(path, key) for path, key in found.items() if key is not None]

    @property
    def queues(self) -> bool:
        """Whether a start may have to wait for other runs, for its time or for a rate."""
        return bool(
            self.concurrent_runs
            or self.concurrency
            or self.starts_per_minute
            or self.singleton
            or self.debounce
        )
