"""Builds the mail message: addresses parsed and re-serialised, headers that cannot be broken."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.headerregistry import Address, BaseHeader, HeaderRegistry, UnstructuredHeader
from email.message import EmailMessage
from email.policy import SMTP, Policy

import css_inline

from activities.addresses import BREAKS, parse_address
from activities.errors import ActionError
from schemas.errors import ErrorCode

__all__ = [
    "MAX_RECIPIENTS",
    "Mail",
    "build",
    "check_headers",
    "check_line",
    "inline_styles",
    "message_id",
    "parse_address",
]

MAX_RECIPIENTS = 50
MAX_HEADER = 998  # characters of a line, RFC 5322 section 2.1.1
_HEADER_NAME = re.compile(r"[A-Za-z0-9-]{1,64}")
_STRUCTURAL = frozenset(
    {
        "authentication-results",
        "bcc",
        "cc",
        "date",
        "delivered-to",
        "dkim-signature",
        "from",
        "message-id",
        "mime-version",
        "received",
        "reply-to",
        "return-path",
        "sender",
        "subject",
        "to",
    }
)
_STRUCTURAL_PREFIXES = ("content-", "resent-", "arc-")


def check_headers(headers: Mapping[str, str]) -> None:
    """Refuse extra headers that break the message or replace one that Sojourn sets.

    Raises ValueError naming the header.
    """
    if len({name.lower() for name in headers}) < len(headers):
        raise ValueError("a header is there twice, in different cases")
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"{name[:64]!r} is not a header name")
        lowered = name.lower()
        if lowered in _STRUCTURAL or lowered.startswith(_STRUCTURAL_PREFIXES):
            raise ValueError(f"the header {name} is set by Sojourn")
        check_line(f"the header {name}", value)


def check_line(what: str, value: str) -> None:
    """Refuse a header value with a line break, a control character, or above 998 characters."""
    if BREAKS.search(value):
        raise ValueError(f"{what} must not hold line breaks or control characters")
    if len(value) > MAX_HEADER:
        raise ValueError(f"{what} is longer than {MAX_HEADER} characters")


def message_id(step_key: str, domain: str) -> str:
    """Make the Message-ID of a step: the same over all attempts, so that receivers can dedupe."""
    return f"<{hashlib.sha256(step_key.encode()).hexdigest()[:32]}@{domain}>"


class _Whole(UnstructuredHeader, BaseHeader):
    """A header that is never folded: the library would encode a long URL beyond recognition."""

    def fold(self, *, policy: Policy) -> str:
        """Give the header on one line."""
        if not self.isascii():
            return super().fold(policy=policy)
        return f"{self.name}: {self}{policy.linesep}"


_registry = HeaderRegistry()
for _name in ("list-unsubscribe", "list-unsubscribe-post"):
    _registry.map_to_type(_name, _Whole)
_POLICY = SMTP.clone(header_factory=_registry)


@dataclass(frozen=True, slots=True)
class Mail:
    """Everything one message is made of; `headers` have passed `check_headers`."""

    message_id: str
    sender: Address
    to: tuple[Address, ...]
    subject: str
    cc: tuple[Address, ...] = ()
    reply_to: Address | None = None
    text: str | None = None
    html: str | None = None
    headers: Mapping[str, str] | None = None


def build(mail: Mail) -> EmailMessage:
    """Build the message; HTML styles go inline, text and HTML become alternatives.

    Raises ActionError INVALID_INPUT for a subject that would break the header.
    """
    subject = mail.subject.strip()
    try:
        check_line("the subject", subject)
    except ValueError as error:
        raise ActionError(str(error), code=ErrorCode.INVALID_INPUT, retryable=False) from error
    message = EmailMessage(policy=_POLICY)
    message["Message-ID"] = mail.message_id
    message["Date"] = datetime.now(UTC)
    message["From"] = mail.sender
    message["To"] = mail.to
    if mail.cc:
        message["Cc"] = mail.cc
    if mail.reply_to is not None:
        message["Reply-To"] = mail.reply_to
    message["Subject"] = subject
    for name, value in (mail.headers or {}).items():
        message[name] = value
    if mail.text is not None:
        # Quoted-printable passes every server; 8bit needs one that says it can.
        message.set_content(mail.text, cte=_encoding(mail.text))
    if mail.html is not None:
        html = inline_styles(mail.html)
        if mail.text is None:
            message.set_content(html, subtype="html", cte=_encoding(html))
        else:
            message.add_alternative(html, subtype="html", cte=_encoding(html))
    return message


def inline_styles(html: str) -> str:
    """Move `<style>` rules into style attributes, as mail clients need; never fetches anything."""
    if "<style" not in html.lower():
        return html
    try:
        return css_inline.inline(html, load_remote_stylesheets=False, keep_at_rules=True)
    except css_inline.InlineError as error:
        raise ActionError(
            f"the styles of the HTML part cannot be read: {error}",
            code=ErrorCode.INVALID_INPUT,
            retryable=False,
        ) from error


def _encoding(text: str) -> str:
    plain = text.isascii() and all(len(line) <= MAX_HEADER for line in text.splitlines())
    return "7bit" if plain else "quoted-printable"
