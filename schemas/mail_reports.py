"""Reads bounces (RFC 3464) and complaints (RFC 5965) in received mail."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from email import message_from_string, policy
from email.message import EmailMessage, Message

from schemas.inbound_mail import Failure, InboundKind, Severity, clean

Header = Callable[[EmailMessage, str], str | None]
_STATUS = re.compile(r"\b([245])\.(\d{1,3})\.(\d{1,3})\b")
_CODE = re.compile(r"(?:^|[\s;])([45])\d\d(?=[\s-]|$)")
# Failures that say nothing of the address: RFC 3463, X.2.2 mailbox full, X.2.3 message too long,
# X.1.7 and X.1.8 the sender's address, X.3 the system, X.5 protocol, X.6 content, X.7 policy.
_NOT_THE_ADDRESS = re.compile(r"5\.(?:2\.[23]|1\.[78]|[3567]\.\d+)")
_ACTIONS = frozenset({"failed"})
_NO_COMPLAINT = frozenset({"not-spam", "auth-failure", "dmarc"})
MAX_RECIPIENTS = 100


@dataclass(frozen=True)
class Report:
    """What a report tells; `message_ids` are texts that name the mail it is about."""

    kind: InboundKind
    failures: list[Failure] = field(default_factory=list)
    message_ids: list[str] = field(default_factory=list)


def read_report(message: EmailMessage, header: Header) -> Report | None:
    """Read a mail that is a report; None for any other.

    Only the mail itself counts: a report that somebody attaches to a mail is none.
    """
    if message.get_content_type() == "multipart/report" and message.is_multipart():
        parts = {
            part.get_content_type(): part
            for part in message.iter_parts()
            if isinstance(part, EmailMessage)
        }
        named = _original(parts, header)
        if (part := parts.get("message/delivery-status")) is not None:
            failures = _failures(part)
            kind = InboundKind.BOUNCE if failures else InboundKind.NOTICE
            return Report(kind, failures, named)
        if (part := parts.get("message/feedback-report")) is not None:
            return _complaint(part, named)
        return Report(InboundKind.NOTICE, [], named)
    # Exim's own form, which has no report in it.
    failed = header(message, "x-failed-recipients")
    if failed is not None:
        addresses = [text.strip() for text in failed.split(",") if "@" in text]
        failures = [Failure(recipient=clean(one, 320)) for one in addresses[:MAX_RECIPIENTS]]
        return Report(InboundKind.BOUNCE if failures else InboundKind.NOTICE, failures)
    return None


def severity(status: str | None, diagnostic: str | None = None) -> tuple[Severity, str | None]:
    """Judge a failure by its status (RFC 3463), or the server's answer; gives both."""
    answered = _STATUS.search(diagnostic or "")
    given = _STATUS.search(status or "")
    if given is None or (given[0] in ("5.0.0", "4.0.0") and answered is not None):
        given = answered
    if given is None:
        code = _CODE.search(diagnostic or "")
        return ("hard" if code is not None and code[1] == "5" else "soft"), None
    hard = given[1] == "5" and not _NOT_THE_ADDRESS.fullmatch(given[0])
    return ("hard" if hard else "soft"), given[0]


def _failures(part: EmailMessage) -> list[Failure]:
    blocks = part.get_payload()
    found: list[Failure] = []
    for block in blocks if isinstance(blocks, list) else []:
        if not isinstance(block, Message):
            continue
        action = _field(block, "action")
        recipient = _field(block, "final-recipient") or _field(block, "original-recipient")
        if recipient is None or (action or "failed").lower() not in _ACTIONS:
            continue
        original = _field(block, "original-recipient") or recipient
        diagnostic = _field(block, "diagnostic-code")
        how, status = severity(_field(block, "status"), diagnostic)
        for one in dict.fromkeys((_address(recipient), _address(original))):
            found.append(
                Failure(
                    recipient=one, severity=how, status=status, diagnostic=clean(diagnostic, 500)
                )
            )
    return found[:MAX_RECIPIENTS]


def _complaint(part: EmailMessage, named: list[str]) -> Report:
    payload = part.get_payload()
    block = payload[0] if isinstance(payload, list) and payload else None
    if not isinstance(block, Message):
        # Some write it as text.
        text = part.get_content() if payload else ""
        block = message_from_string(str(text), policy=policy.default)
    kind = (_field(block, "feedback-type") or "abuse").lower()
    if kind in _NO_COMPLAINT:
        return Report(InboundKind.NOTICE, [], named)
    recipient = _field(block, "original-rcpt-to")
    address = _address(recipient) if recipient else None
    return Report(InboundKind.COMPLAINT, [Failure(recipient=address, diagnostic=kind)], named)


def _original(parts: dict[str, EmailMessage], header: Header) -> list[str]:
    """Give the Message-ID of the mail that came back, whole or its headers."""
    if (part := parts.get("message/rfc822")) is not None:
        payload = part.get_payload()
        if isinstance(payload, list) and payload and isinstance(payload[0], EmailMessage):
            return [header(payload[0], "message-id") or ""]
    if (part := parts.get("text/rfc822-headers")) is not None:
        returned = message_from_string(str(part.get_content()), policy=policy.default)
        return [str(returned["message-id"] or "")]
    return []


def _field(block: Message, name: str) -> str | None:
    value = block[name]
    return None if value is None else " ".join(str(value).split())


def _address(text: str) -> str | None:
    """Give the address of `rfc822; address`, without angle brackets."""
    return clean(text.rpartition(";")[2].strip().strip("<>").strip(), 320)
