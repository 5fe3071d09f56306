"""Ways in for replies and bounces, and what came."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, model_validator

from api.models.common import Closed
from schemas.connections import CONNECTION_NAME
from schemas.inbound_mail import InboundKind, InboxKind, Severity

Line = Annotated[str, Field(max_length=998)]
Address = Annotated[str, Field(min_length=3, max_length=320)]


class InboxInput(Closed):
    """An address that a provider posts to (`webhook`), or a mailbox that is read (`imap`)."""

    kind: InboxKind
    connection: Annotated[str, Field(pattern=CONNECTION_NAME)] | None = Field(
        default=None, description="of kind imap, which `imap` needs"
    )
    enabled: bool = True

    @model_validator(mode="after")
    def _parts(self) -> Self:
        if (self.connection is not None) is not (self.kind is InboxKind.IMAP):
            raise ValueError("a connection belongs to 'kind: imap', which needs one")
        return self


class InboxView(BaseModel):
    """One way in; `token` and `url` are in the answer that makes the token and nowhere else."""

    name: str
    kind: InboxKind
    connection: str | None = None
    enabled: bool
    token: str | None = None
    url: str | None = Field(default=None, description="where the provider posts")
    received: int
    last_received_at: datetime | None = None
    polled_at: datetime | None = Field(default=None, description="when it was last read well")
    last_error: str | None = None
    created_at: datetime
    updated_at: datetime


class InboxList(BaseModel):
    """All ways in, by name."""

    items: list[InboxView]


class InboundMessage(Closed):
    """A received mail as JSON; `kind` says what the provider knows, a plain mail is judged by us.

    For `bounce` and `complaint` the mail that is told of is `in_reply_to`, and `recipient` the
    address that failed.
    """

    kind: Literal["message", "bounce", "complaint"] = "message"
    from_: Line | None = Field(default=None, alias="from")
    to: Line | list[Line] | None = None
    subject: Line | None = None
    message_id: Line | None = None
    in_reply_to: Line | None = None
    references: str | list[Line] | None = None
    text: str | None = None
    headers: dict[str, Any] = Field(default_factory=dict)
    recipient: Address | None = None
    severity: Severity = "hard"
    status: Annotated[str, Field(max_length=20)] | None = None
    diagnostic: str | None = None


class InboundAnswer(BaseModel):
    """What a received mail was found to be; a `duplicate` came before, and changed nothing."""

    id: str
    kind: InboundKind
    matched: bool
    duplicate: bool


class InboundView(BaseModel):
    """One received mail."""

    id: str
    inbox: str
    message_id: str
    kind: InboundKind
    from_address: str | None = None
    subject: str | None = None
    text: str | None = None
    lead_id: str | None = None
    run_id: str | None = None
    step_path: str | None = None
    matched_by: str | None = None
    recipient: str | None = None
    severity: str | None = None
    status: str | None = None
    diagnostic: str | None = None
    created_at: datetime


class InboundPage(BaseModel):
    """Received mail, newest first."""

    items: list[InboundView]
    next_cursor: str | None = None
