"""What the `email` action takes and gives."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from activities import _message
from schemas.connections import CONNECTION_NAME
from schemas.mail import Tracking

Recipient = Annotated[
    str,
    StringConstraints(min_length=3, max_length=400),
    Field(description="`address` or `Name <address>`", examples=["Ada <ada@example.com>"]),
]
Recipients = Annotated[list[Recipient], Field(max_length=_message.MAX_RECIPIENTS)]
Label = Annotated[str, Field(min_length=1, max_length=200)]


class Attribution(BaseModel):
    """Campaign parameters for the links of the HTML part: `source` becomes `utm_source`."""

    model_config = ConfigDict(extra="forbid")

    source: Label | None = None
    medium: Label | None = None
    campaign: Label | None = None
    term: Label | None = None
    content: Label | None = None

    def parameters(self) -> dict[str, str]:
        """Name and value of each parameter that is given."""
        return {f"utm_{name}": value for name, value in self.model_dump(exclude_none=True).items()}


class EmailParams(BaseModel):
    """Parameters of `email`."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, title="email")

    to: Annotated[
        Recipient | Recipients, Field(description="one recipient or a list; at most 50 in all")
    ]
    cc: Annotated[Recipient | Recipients, Field(description="copies")] = []
    bcc: Annotated[Recipient | Recipients, Field(description="copies nobody else sees")] = []
    reply_to: Recipient | None = Field(default=None, description="where answers go")
    from_: Recipient | None = Field(
        default=None,
        alias="from",
        description="sender; must have the domain of the configured one, which is the default",
    )
    connection: Annotated[str, Field(pattern=CONNECTION_NAME)] | None = Field(
        default=None, description="the connection to send over; by default the configured server"
    )
    subject: str | None = Field(
        default=None, max_length=998, description="required without `template`; else replaces its"
    )
    text: str | None = Field(default=None, description="plain text part")
    html: str | None = Field(
        default=None,
        description="HTML part; styles go inline. Values are not escaped: use a template for them",
    )
    template: str | None = Field(default=None, description="name of a stored Liquid template")
    data: dict[str, Any] = Field(
        default_factory=dict,
        description="what the template reads; `lead`, `booking_url` and `unsubscribe_url` are"
        " there besides",
    )
    headers: dict[str, str] = Field(default_factory=dict, description="more headers")
    unsubscribe: bool | None = Field(
        default=None,
        description="one-click unsubscribe; by default for a run's lead, where the public URL is"
        " known",
    )
    tracking: Tracking | None = Field(
        default=None, description="what is counted; by default what the connection says"
    )
    attribution: Attribution | None = Field(
        default=None, description="campaign parameters for the links of the HTML part"
    )

    @field_validator("to", "cc", "bcc", "reply_to", "from_")
    @classmethod
    def _addresses(cls, value: str | list[str] | None) -> str | list[str] | None:
        for text in listed(value):
            _message.parse_address(text)
        return value

    @field_validator("headers")
    @classmethod
    def _headers(cls, value: dict[str, str]) -> dict[str, str]:
        _message.check_headers(value)
        return value

    @field_validator("subject")
    @classmethod
    def _subject(cls, value: str | None) -> str | None:
        if value is not None:
            _message.check_line("the subject", value.strip())
        return value

    @model_validator(mode="after")
    def _content(self) -> Self:
        if self.template is None:
            if self.text is None and self.html is None:
                raise ValueError("give 'text', 'html' or 'template'")
            if self.subject is None:
                raise ValueError("give 'subject'; only a template may bring its own")
            if self.data:
                raise ValueError("'data' belongs to 'template'")
        elif self.text is not None or self.html is not None:
            raise ValueError("'template' brings text and html; give one or the other")
        return self

    @model_validator(mode="after")
    def _recipients(self) -> Self:
        number = sum(len(listed(field)) for field in (self.to, self.cc, self.bcc))
        if not listed(self.to):
            raise ValueError("'to' is empty")
        if number > _message.MAX_RECIPIENTS:
            raise ValueError(f"{number} recipients; at most {_message.MAX_RECIPIENTS}")
        if self.unsubscribe:
            if number > 1:
                raise ValueError("'unsubscribe' is for a mail with one recipient")
            if self.own_unsubscribe:
                raise ValueError("'unsubscribe' sets the headers List-Unsubscribe itself")
        return self

    @property
    def own_unsubscribe(self) -> bool:
        """True where `headers` says how to unsubscribe."""
        return any(name.lower().startswith("list-unsubscribe") for name in self.headers)


class EmailResult(BaseModel):
    """What became of a message; `refused` maps a recipient to the server's words."""

    message_id: str
    to: list[str]
    subject: str
    accepted: list[str]
    refused: dict[str, str] = Field(default_factory=dict)
    response: str | None = Field(default=None, description="the mail server's answer")
    provider_id: str | None = Field(default=None, description="the message's id at the provider")
    delivery: Literal["marked_sent"] | None = Field(
        default=None, description="an operator said that it was sent, where nobody knew"
    )
    already_sent: bool = Field(
        default=False, description="an earlier attempt had sent it; nothing was sent now"
    )
    recorded: bool | None = Field(
        default=None, description="the lead's `sent` event is stored; null without a lead"
    )
    suppressed: bool = Field(
        default=False, description="every `to` is on the suppression list; nothing was sent"
    )
    capped: bool = Field(
        default=False, description="the lead has had enough mails; nothing was sent"
    )
    left_out: list[str] = Field(
        default_factory=list, description="recipients on the suppression list"
    )


def listed(value: str | list[str] | None) -> list[str]:
    """Give the recipients of a field as a list."""
    return [] if value is None else [value] if isinstance(value, str) else value
