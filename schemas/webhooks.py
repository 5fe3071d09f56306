"""Webhook triggers: how a delivery proves where it comes from, and what it gives its run."""

import re
from datetime import timedelta
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from schemas import cel
from schemas.connections import SECRET_NAME
from schemas.durations import Duration
from schemas.policies import Strict
from schemas.step_base import EventType, Expression
from schemas.trigger_base import InputTrigger

MAX_BODY_BYTES: Final = 256 * 1024
MAX_TOLERANCE: Final = timedelta(hours=1)
_PLACE = re.compile(r"\{(timestamp|id|body)\}")
# They carry credentials: nothing of them is kept or shown to expressions.
_PRIVATE = frozenset(
    {
        "authorization",
        "cookie",
        "proxy-authorization",
        "set-cookie",
        "x-api-key",
        "x-amz-security-token",
    }
)


def _lower(name: str) -> str:
    return name.lower()


def _public(name: str) -> str:
    if name.lower() in _PRIVATE:
        raise ValueError(f"{name!r} may carry a credential, which no delivery keeps")
    return name.lower()


_HeaderText = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
HeaderName = Annotated[_HeaderText, AfterValidator(_lower)]
PublicHeader = Annotated[_HeaderText, AfterValidator(_public)]
SecretNames = Annotated[
    list[Annotated[str, Field(pattern=SECRET_NAME)]],
    Field(
        min_length=1,
        max_length=5,
        description="names of stored secrets; several while one is replaced",
    ),
]


class _Signed(Strict):
    """A scheme with secrets: any of them may have signed."""

    secrets: SecretNames


class _Timed(_Signed):
    """A scheme whose signature covers a time; older and newer ones are refused."""

    tolerance: Duration = Field(
        default=timedelta(minutes=5), description="how far the time may be off, at most 1h"
    )

    @field_validator("tolerance")
    @classmethod
    def _bounded(cls, value: timedelta) -> timedelta:
        if not timedelta(seconds=1) <= value <= MAX_TOLERANCE:
            raise ValueError("must be from 1s to 1h")
        return value


class StandardScheme(_Timed):
    """Standard Webhooks: webhook-id, webhook-timestamp, webhook-signature."""

    scheme: Literal["standard"]


class GithubScheme(_Signed):
    """GitHub: X-Hub-Signature-256 over the body, which covers neither a time nor the id."""

    scheme: Literal["github"]


class StripeScheme(_Timed):
    """Stripe: Stripe-Signature with t and v1; the id is in the body."""

    scheme: Literal["stripe"]


class SlackScheme(_Timed):
    """Slack: X-Slack-Signature over v0, time and body; the id is in the body."""

    scheme: Literal["slack"]


class HmacScheme(_Timed):
    """Any other HMAC in a header; `signed` says what it covers."""

    scheme: Literal["hmac"]
    header: HeaderName = Field(description="holds the signature", examples=["x-signature"])
    algorithm: Literal["sha256", "sha512"] = "sha256"
    encoding: Literal["hex", "base64"] = "hex"
    prefix: Annotated[str, Field(max_length=32)] = Field(
        default="", description="stands before the signature", examples=["sha256="]
    )
    timestamp_header: HeaderName | None = Field(
        default=None, description="holds the time, in seconds or milliseconds since 1970"
    )
    id_header: HeaderName | None = Field(default=None, description="holds the delivery's id")
    signed: Annotated[str, Field(max_length=200)] = Field(
        default="{body}",
        description="what is signed, of {timestamp}, {id} and {body}",
        examples=["{timestamp}.{body}"],
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        names = self.parts[1::2]
        if names.count("body") != 1:
            raise ValueError("'signed' must hold {body} once")
        # A time that the signature does not cover can be replaced, so it protects nothing.
        for name, header in (("timestamp", self.timestamp_header), ("id", self.id_header)):
            if name in names and header is None:
                raise ValueError(f"'signed' holds {{{name}}}: say '{name}_header' too")
        if self.timestamp_header is not None and "timestamp" not in names:
            raise ValueError("'signed' must hold {timestamp} when there is a 'timestamp_header'")
        return self

    @property
    def parts(self) -> list[str]:
        """What is signed, cut up: text, name, text, name, ... text."""
        return _PLACE.split(self.signed)


class NoScheme(Strict):
    """Nothing but the token in the address: whoever learns it may start runs."""

    scheme: Literal["none"]
    id_header: HeaderName = Field(default="webhook-id", description="holds the delivery's id")


Scheme = Annotated[
    StandardScheme | GithubScheme | StripeScheme | SlackScheme | HmacScheme | NoScheme,
    Field(discriminator="scheme"),
]


class PublishedEvent(Strict):
    """The event that a delivery publishes instead of starting a run of its own."""

    event: EventType = Field(examples=["order.paid"])
    key: Annotated[str, Field(min_length=1, max_length=4096)] = Field(
        description="whom it is for; may hold {{ CEL }}", examples=["{{ body.order.id }}"]
    )


class WebhookTrigger(InputTrigger):
    """Starts a run for each delivery that an outside system posts to its address.

    `dedupe` says what makes two deliveries one. `auto`: the same id; and without an id, or where
    one of the two has lost it, the same signed content. `id`: the same id alone, so that each
    delivery without one counts. `content`: the same signed content, whatever the ids.
    """

    SCOPE: ClassVar[dict[str, cel.Type]] = {
        "body": cel.DYN,
        "headers": cel.DYN,
        "query": cel.DYN,
        "delivery": cel.object_type({"id": cel.STRING, "received_at": cel.STRING}),
    }

    kind: Literal["webhook"]
    verify: Scheme
    where: Annotated[Expression, Field(max_length=4096)] | None = Field(
        default=None,
        description="CEL over `body`, `headers`, `query` and `delivery`; false ignores it",
        examples=["body.action == 'opened'"],
    )
    headers: Annotated[list[PublicHeader], Field(max_length=20)] = Field(
        default_factory=list, description="headers to keep beside the usual ones"
    )
    dedupe: Literal["auto", "id", "content"] = "auto"
    publish: PublishedEvent | None = Field(
        default=None, description="publish an event, with `input` as its data; start no run"
    )
