"""Connections and secrets as the API gives them: never with a secret value."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from api.models.common import Closed
from schemas.connections import SecretText

Kind = Literal["smtp", "gmail", "mail", "imap", "http", "openai", "anthropic", "google", "webhook"]


class LastTest(BaseModel):
    """How the last test of a connection went."""

    ok: bool
    message: str
    at: datetime


class Disabled(BaseModel):
    """Since when and why nothing is sent over a connection."""

    at: datetime
    reason: str


class ConnectionView(BaseModel):
    """One connection; `secrets` are the names of the secret fields that are set."""

    name: str
    kind: Kind
    config: dict[str, Any]
    secrets: list[str] = Field(examples=[["password"]])
    created_at: datetime
    updated_at: datetime
    last_test: LastTest | None = None
    disabled: Disabled | None = None


class ConnectionList(BaseModel):
    """All connections, by name."""

    items: list[ConnectionView]


class TestAnswer(BaseModel):
    """What a test found; `duration_ms` is in milliseconds."""

    # Not a test class.
    __test__ = False

    ok: bool
    message: str = Field(examples=["logged in as mailer@example.com"])
    duration_ms: int


class SecretInput(Closed):
    """A secret's value: it can be written and never read back."""

    value: SecretText


class SecretView(BaseModel):
    """One secret, without its value."""

    name: str
    created_at: datetime
    updated_at: datetime


class SecretList(BaseModel):
    """All secrets, by name."""

    items: list[SecretView]
