"""Reads a received mail (RFC 5322) for what it says of itself: a reply, or written by a machine."""

import re
from collections.abc import Iterable
from email import message_from_bytes, policy
from email.message import EmailMessage
from html import unescape

from schemas.errors import InputError
from schemas.inbound_mail import (
    MAX_LINE,
    MAX_REFERENCES,
    MAX_TEXT,
    InboundKind,
    Received,
    clean,
    digest_of,
)
from schemas.mail_reports import read_report

MAX_HEADER = 8192
MAX_PARTS = 1000
MAX_HTML = 64 * 1024  # characters, of which text is made
# Where the parser takes long: mails of parts, and reports, which are made of blocks.
_PARTS = re.compile(rb"^content-type:\s*multipart/", re.IGNORECASE | re.MULTILINE)
_LONG = frozenset({"in-reply-to", "references"})
_STATUS = re.compile(rb"message/delivery-status", re.IGNORECASE)
_MESSAGE_ID = re.compile(r"<[^<>\s]{1,996}>")
_ADDRESS = re.compile(r"[^\s@<>,;:\"()\[\]\\]{1,64}@[^\s@<>,;:\"()\[\]\\]{1,253}")
_BLOCK = re.compile(r"<(?:br|p|div|tr|li|blockquote)\b[^<>]*>", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")
_AUTOMATIC = ("x-autoreply", "x-auto-reply", "x-autorespond", "x-autoresponder")
_BULK = frozenset({"bulk", "junk", "list", "auto_reply", "auto-reply"})
_DAEMONS = frozenset({"mailer-daemon", "postmaster"})


class _Capped(policy.EmailPolicy):
    """The default policy; a header is cut, since parsing one takes more than linear time."""

    def header_source_parse(self, sourcelines: list[str]) -> tuple[str, str]:
        name, value = super().header_source_parse(sourcelines)
        return name, value[: MAX_HEADER if name.lower() in _LONG else MAX_LINE]


_POLICY = _Capped()


def parse_mail(raw: bytes) -> Received:
    """Read a mail; raises InputError for what cannot be read as one."""
    digest = digest_of(raw)
    if _PARTS.search(raw) and (
        raw.count(b"\n--") > MAX_PARTS
        or (_STATUS.search(raw) and raw.count(b"\n\r\n") + raw.count(b"\n\n") > MAX_PARTS)
    ):
        raise InputError(f"the mail has more than {MAX_PARTS} parts")
    try:
        message = message_from_bytes(raw, _class=EmailMessage, policy=_POLICY)
        assert isinstance(message, EmailMessage)
        if not message.keys():
            raise InputError("this is no mail: it has no headers")
        return _read(message, digest)
    except InputError:
        raise
    except Exception as error:
        # The parser is made for what is well formed: other input meets errors of many types in it.
        raise InputError(f"the mail cannot be read: {type(error).__name__}") from error


def message_ids(*texts: str | None) -> list[str]:
    """Give the Message-IDs in texts, in angle brackets, each once and in order."""
    found = [one for text in texts if text for one in _MESSAGE_ID.findall(text)]
    return list(dict.fromkeys(found))[:MAX_REFERENCES]


def plain_address(text: str | None) -> str | None:
    """Give the address of `Name <address>`, or of a bare one; None where there is none."""
    if text is None:
        return None
    try:
        header = _POLICY.header_factory("from", " ".join(text[:2000].split()))
        addresses = [one.addr_spec for one in header.addresses if one.domain]
    except Exception:
        addresses = _ADDRESS.findall(text[:2000])
    return clean(addresses[0], 320) if addresses else None


def judge(headers: Iterable[tuple[str, str]], from_address: str | None) -> InboundKind:
    """Tell a reply from what a machine wrote, by its headers (RFC 3834, section 5)."""
    found = {name.lower(): value.strip().lower() for name, value in headers}
    if found.get("auto-submitted", "no").partition(";")[0].strip() != "no":
        return InboundKind.AUTO_REPLY
    if any(found.get(name, "no") != "no" for name in _AUTOMATIC):
        return InboundKind.AUTO_REPLY
    if found.get("precedence") in _BULK or found.get("return-path") == "<>":
        return InboundKind.AUTO_REPLY
    local = (from_address or "").partition("@")[0].lower()
    return InboundKind.NOTICE if local in _DAEMONS else InboundKind.REPLY


def plain_text(html: str) -> str:
    """Give the text of an HTML part, roughly as it reads.

    By patterns that take linear time: a parser of tags does not where they never end.
    """
    _, head, body = html.partition("</head>")
    text = _TAG.sub("", _BLOCK.sub("\n", body if head else html))
    return "\n".join(line for part in unescape(text).split("\n") if (line := part.strip()))


def header(message: EmailMessage, name: str) -> str | None:
    """Give a header's text; None where it is missing or cannot be read."""
    try:
        value = message[name]
        return None if value is None else str(value)
    except Exception:
        return None


def _read(message: EmailMessage, digest: str) -> Received:
    from_address = plain_address(header(message, "from"))
    references = message_ids(header(message, "in-reply-to"))
    older = message_ids(header(message, "references"))
    references = list(dict.fromkeys([*references, *reversed(older)]))
    own = message_ids(header(message, "message-id"))
    found = Received(
        kind=InboundKind.REPLY,
        message_id=clean(own[0]) if own else None,
        digest=digest,
        from_address=from_address,
        subject=clean(header(message, "subject")),
        references=references,
    )
    report = read_report(message, header)
    if report is not None:
        found.kind, found.failures = report.kind, report.failures
        told = message_ids(*report.message_ids)
        found.references = list(dict.fromkeys([*told, *references]))
        return found
    found.kind = judge(
        ((name, header(message, name) or "") for name in set(message.keys())), from_address
    )
    found.text = clean(_text(message), MAX_TEXT)
    return found


def _text(message: EmailMessage) -> str | None:
    part = message.get_body(("plain", "html"))
    if part is None:
        return None
    try:
        content = part.get_content()
    except (LookupError, UnicodeError, ValueError):
        return None
    if not isinstance(content, str):
        return None
    if part.get_content_subtype() == "html":
        return plain_text(content[:MAX_HTML])
    return content.replace("\r\n", "\n")
