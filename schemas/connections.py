"""Connections: stored access to outside systems, of a closed set of kinds.

Of each kind one model holds what may be shown and one what is secret.
"""

from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, EmailStr, Field, model_validator

from schemas.mail import MailPolicy
from schemas.policies import Strict

CONNECTION_NAME = r"^[a-z0-9][a-z0-9_-]{0,62}$"
SECRET_NAME = r"^[A-Za-z][A-Za-z0-9_]{0,62}$"  # noqa: S105 - the shape of a name
# A shorter one could not be masked without tearing other texts apart.
MIN_SECRET: Final = 4
MAX_SECRET: Final = 16 * 1024
_NO_BREAK = r"^[^\x00-\x1f\x7f]+$"
# They frame and route a request.
_FRAMING = frozenset(
    {"connection", "content-length", "expect", "host", "te", "transfer-encoding", "upgrade"}
)
_HEADER_NAME = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$"


def _web_address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must begin with http:// or https:// and name a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a user or password; those are secrets")
    return text


Host = Annotated[str, Field(max_length=253, pattern=r"^[A-Za-z0-9._:-]+$", examples=["localhost"])]
Port = Annotated[int, Field(ge=1, le=65535)]
Line = Annotated[str, Field(max_length=998, pattern=_NO_BREAK)]
Url = Annotated[
    str,
    Field(max_length=2048, pattern=r"^https?://[^\s\\]+$", examples=["https://api.example.com/v1"]),
    AfterValidator(_web_address),
]
SecretText = Annotated[
    str,
    Field(
        min_length=MIN_SECRET,
        max_length=MAX_SECRET,
        json_schema_extra={"writeOnly": True, "format": "password"},
    ),
]
# It is sent in a header, or on a line of a protocol.
SecretLine = Annotated[SecretText, Field(pattern=_NO_BREAK)]


class ConnectionConfig(Strict):
    """What may be shown of a connection."""

    def required_secrets(self) -> frozenset[str]:
        """The secret fields without which the connection cannot work."""
        return frozenset()


class ConnectionSecrets(Strict):
    """A kind's secrets; every field is write-only."""


class SmtpConfig(ConnectionConfig, MailPolicy):
    """A mail server; `tls: implicit` speaks TLS from the first byte, as on port 465."""

    host: Host
    port: Port = 587
    tls: Literal["starttls", "implicit", "opportunistic", "none"] = "starttls"
    username: Line | None = None
    from_address: Line | None = Field(default=None, description="`Name <address>`")
    reply_to: Line | None = None

    def required_secrets(self) -> frozenset[str]:
        """A user needs a password."""
        return frozenset({"password"} if self.username else ())


class PasswordSecrets(ConnectionSecrets):
    """The password of a user."""

    password: SecretLine | None = None


class GmailConfig(ConnectionConfig, MailPolicy):
    """Gmail's API, by an OAuth refresh token or by a service account that acts for `user`."""

    auth: Literal["oauth", "service_account"] = "oauth"
    user: EmailStr = Field(description="the mailbox's address")
    client_id: Line | None = Field(default=None, description="of the OAuth client")
    from_address: Line | None = Field(default=None, description="`Name <address>`")
    reply_to: Line | None = None
    token_url: Url = "https://oauth2.googleapis.com/token"  # noqa: S105
    api_url: Url = "https://gmail.googleapis.com"

    @model_validator(mode="after")
    def _client(self) -> Self:
        if self.auth == "oauth" and self.client_id is None:
            raise ValueError("'auth: oauth' needs 'client_id'")
        return self

    def required_secrets(self) -> frozenset[str]:
        """What the way to a token needs."""
        if self.auth == "service_account":
            return frozenset({"service_account"})
        return frozenset({"client_secret", "refresh_token"})


class GmailSecrets(ConnectionSecrets):
    """The OAuth client's secret and refresh token, or the service account's key file (JSON)."""

    client_secret: SecretLine | None = None
    refresh_token: SecretLine | None = None
    service_account: SecretText | None = None


class OtherMailConfig(ConnectionConfig, MailPolicy):
    """A mail provider that is installed beside Sojourn; `options` are its own."""

    provider: Annotated[str, Field(pattern=CONNECTION_NAME)] = Field(
        description="the name of its entry point"
    )
    from_address: Line | None = Field(default=None, description="`Name <address>`")
    reply_to: Line | None = None
    options: dict[str, str | int | float | bool] = Field(default_factory=dict, max_length=50)


class OtherMailSecrets(ConnectionSecrets):
    """What a mail provider may need; each takes what it knows."""

    api_key: SecretLine | None = None
    api_secret: SecretLine | None = None
    token: SecretLine | None = None
    password: SecretLine | None = None


class ImapConfig(ConnectionConfig):
    """A mailbox that is read for replies and bounces."""

    host: Host
    port: Port = 993
    tls: Literal["implicit", "starttls", "none"] = "implicit"
    username: Line
    mailbox: Line = "INBOX"

    def required_secrets(self) -> frozenset[str]:
        """The password."""
        return frozenset({"password"})


class HttpConfig(ConnectionConfig):
    """A web API; its credentials go to the origin of `base_url` alone."""

    base_url: Url
    auth: Literal["none", "bearer", "basic", "header"] = "none"
    username: Line | None = Field(default=None, description="of `auth: basic`")
    header: Annotated[str, Field(pattern=_HEADER_NAME)] | None = Field(
        default=None, description="the name, of `auth: header`", examples=["X-API-Key"]
    )
    test_url: Annotated[str, Field(max_length=2048)] | None = Field(
        default=None, description="what the test asks for, relative to base_url; else base_url"
    )

    @model_validator(mode="after")
    def _parts(self) -> Self:
        if self.auth == "header" and self.header is None:
            raise ValueError("'auth: header' needs 'header', its name")
        if self.header is not None and self.header.lower() in _FRAMING:
            raise ValueError(f"the header {self.header} is set by Sojourn")
        if self.auth == "basic" and self.username is None:
            raise ValueError("'auth: basic' needs 'username'")
        return self

    def required_secrets(self) -> frozenset[str]:
        """What the credentials are made of."""
        fields = {"bearer": "token", "basic": "password", "header": "value"}
        return frozenset({fields[self.auth]} if self.auth in fields else ())


class HttpSecrets(ConnectionSecrets):
    """`token` of bearer, `password` of basic, `value` of header."""

    token: SecretLine | None = None
    password: SecretLine | None = None
    value: SecretLine | None = None


class OpenAiConfig(ConnectionConfig):
    """OpenAI, or any server that speaks its protocol at `base_url`."""

    base_url: Url | None = None
    organization: Line | None = None
    project: Line | None = None

    def required_secrets(self) -> frozenset[str]:
        """The key; a server of one's own may need none."""
        return frozenset() if self.base_url else frozenset({"api_key"})


class ModelConfig(ConnectionConfig):
    """A vendor of models; `base_url` where it is not the vendor's own address."""

    base_url: Url | None = None

    def required_secrets(self) -> frozenset[str]:
        """The key."""
        return frozenset({"api_key"})


class ApiKeySecrets(ConnectionSecrets):
    """The key of an API."""

    api_key: SecretLine | None = None


class WebhookConfig(ConnectionConfig):
    """Where the action `webhook` sends, signed with the secret."""

    url: Url | None = Field(default=None, description="where outgoing webhooks go")

    def required_secrets(self) -> frozenset[str]:
        """The signing secret."""
        return frozenset({"secret"})


class WebhookSecrets(ConnectionSecrets):
    """The signing secret; `previous` signs beside it while the receiver changes over."""

    secret: SecretLine | None = None
    previous: SecretLine | None = None


class SmtpConnection(Strict):
    """Sends mail over SMTP."""

    kind: Literal["smtp"]
    config: SmtpConfig
    secrets: PasswordSecrets | None = None


class GmailConnection(Strict):
    """Sends mail through Gmail."""

    kind: Literal["gmail"]
    config: GmailConfig
    secrets: GmailSecrets | None = None


class OtherMailConnection(Strict):
    """Sends mail over an installed provider."""

    kind: Literal["mail"]
    config: OtherMailConfig
    secrets: OtherMailSecrets | None = None


class ImapConnection(Strict):
    """Reads a mailbox."""

    kind: Literal["imap"]
    config: ImapConfig
    secrets: PasswordSecrets | None = None


class HttpConnection(Strict):
    """Calls a web API."""

    kind: Literal["http"]
    config: HttpConfig
    secrets: HttpSecrets | None = None


class OpenAiConnection(Strict):
    """Asks OpenAI's models, or those of a server that speaks its protocol."""

    kind: Literal["openai"]
    config: OpenAiConfig = Field(default_factory=OpenAiConfig)
    secrets: ApiKeySecrets | None = None


class AnthropicConnection(Strict):
    """Asks Anthropic's models."""

    kind: Literal["anthropic"]
    config: ModelConfig = Field(default_factory=ModelConfig)
    secrets: ApiKeySecrets | None = None


class GoogleConnection(Strict):
    """Asks Google's models."""

    kind: Literal["google"]
    config: ModelConfig = Field(default_factory=ModelConfig)
    secrets: ApiKeySecrets | None = None


class WebhookConnection(Strict):
    """Signs webhooks."""

    kind: Literal["webhook"]
    config: WebhookConfig = Field(default_factory=WebhookConfig)
    secrets: WebhookSecrets | None = None


# A connection as it is written; without `secrets` those that are stored stay.
AnyConnection = Annotated[
    SmtpConnection
    | GmailConnection
    | OtherMailConnection
    | ImapConnection
    | HttpConnection
    | OpenAiConnection
    | AnthropicConnection
    | GoogleConnection
    | WebhookConnection,
    Field(discriminator="kind"),
]
KINDS: Final = (
    "smtp", "gmail", "mail", "imap", "http", "openai", "anthropic", "google", "webhook"
)  # fmt: skip


def given_secrets(connection: AnyConnection) -> dict[str, str] | None:
    """The secret fields that were given a value; None where none were given at all."""
    if connection.secrets is None:
        return None
    return connection.secrets.model_dump(exclude_none=True)


def shown_config(connection: AnyConnection) -> dict[str, Any]:
    """The configuration as JSON data, defaults included."""
    return connection.config.model_dump(mode="json")
