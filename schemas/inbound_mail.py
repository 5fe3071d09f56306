"""Received mail as it is judged: replies, automatic answers, bounces and complaints."""

import hashlib
from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, Field

MAX_MAIL_BYTES = 1024 * 1024
MAX_TEXT = 16 * 1024  # characters that are kept of a reply
MAX_LINE = 998  # of a header, RFC 5322 section 2.1.1
MAX_REFERENCES = 50

Severity = Literal["hard", "soft"]


class InboxKind(StrEnum):
    """How mail comes in: a provider posts it, or a mailbox is read."""

    WEBHOOK = "webhook"
    IMAP = "imap"


class InboundKind(StrEnum):
    """What a received mail is.

    `auto_reply` is written by a machine and no reply; `notice` tells of a delivery without a
    failure, such as a delay; `unmatched` has nothing to do with a mail of ours.
    """

    REPLY = "reply"
    AUTO_REPLY = "auto_reply"
    BOUNCE = "bounce"
    COMPLAINT = "complaint"
    NOTICE = "notice"
    UNMATCHED = "unmatched"


class Failure(BaseModel):
    """One recipient that a bounce or complaint is about; `status` as in RFC 3463 (`5.1.1`)."""

    recipient: str | None = None
    severity: Severity = "hard"
    status: str | None = None
    diagnostic: str | None = None


class Received(BaseModel):
    """A received mail: `kind` is what it says of itself, before anything is matched.

    `message_id` is None where it has none; `references` are the Message-IDs, in angle brackets,
    of the mails that it answers or tells of, the nearest first. Addresses are plain.
    """

    kind: InboundKind
    message_id: str | None = None
    digest: str
    from_address: str | None = None
    subject: str | None = None
    text: str | None = None
    references: list[str] = Field(default_factory=list)
    failures: list[Failure] = Field(default_factory=list)
    at: datetime | None = None

    @property
    def identity(self) -> str:
        """What it is deduplicated by: its Message-ID, else its content."""
        return self.message_id or f"sha256:{self.digest}"


def clean(text: str | None, limit: int = MAX_LINE) -> str | None:
    """Cut a text to what is kept; without U+0000 and half characters, which no table takes."""
    if text is None:
        return None
    whole = text[:limit].replace("\x00", "\ufffd")
    return whole.encode("utf-8", "replace").decode() or None


def digest_of(raw: bytes) -> str:
    """Give what a mail without a Message-ID is known by: the SHA-256 of its content, in hex."""
    return hashlib.sha256(raw).hexdigest()
