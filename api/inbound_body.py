"""Received mail as request bodies: JSON, the mail itself, and the forms that providers post."""

import asyncio
import json
from email import message_from_bytes, message_from_string, policy
from email.message import EmailMessage
from typing import Any
from urllib.parse import parse_qsl

from fastapi import Request
from pydantic import ValidationError

from api.models.mail_inboxes import InboundMessage
from api.raw_body import read_body
from schemas.errors import InputError, Problem
from schemas.inbound_mail import (
    MAX_MAIL_BYTES,
    MAX_TEXT,
    Failure,
    InboundKind,
    Received,
    clean,
    digest_of,
)
from schemas.inbound_parsing import judge, message_ids, parse_mail, plain_address
from schemas.storable import find_unstorable

MAX_FIELDS = 1000
_MAIL = frozenset({"message/rfc822", "text/rfc822", "application/octet-stream"})
_FORM = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data"

# FastAPI cannot see a body that is read as a stream; this documents it.
INBOUND_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "a received mail, at most 1 MiB",
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/InboundMessage"}},
            "message/rfc822": {"schema": {"type": "string", "format": "binary"}},
            _FORM: {"schema": {"type": "object"}},
            _MULTIPART: {"schema": {"type": "object"}},
        },
    }
}


async def read_inbound(request: Request) -> Received:
    """Read the body; raises InputError for what is no mail, LimitError above 1 MiB."""
    body = await read_body(request, MAX_MAIL_BYTES)
    kind = request.headers.get("content-type", "application/json")
    # In a thread: a mail of a megabyte must not hold up other requests.
    return await asyncio.to_thread(_read, body, kind)


def _read(body: bytes, content_type: str) -> Received:
    kind = content_type.partition(";")[0].strip().lower()
    if kind in _MAIL:
        return parse_mail(body)
    if kind == "application/json":
        return _from_json(body)
    if kind == _FORM:
        return _from_fields(_urlencoded(body), body)
    if kind == _MULTIPART:
        return _from_fields(_multipart(body, content_type), body)
    raise InputError(
        f"a mail cannot be read from {kind[:100]!r}",
        hint="send application/json, message/rfc822 or a provider's form",
    )


def _from_json(body: bytes) -> Received:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InputError("the body is not JSON") from error
    if fault := find_unstorable(data):
        raise InputError(f"the body cannot be stored: {fault}")
    try:
        given = InboundMessage.model_validate(data)
    except ValidationError as error:
        faults = [
            Problem(
                code="INVALID_INPUT",
                path=".".join(str(part) for part in fault["loc"]),
                message=fault["msg"],
            )
            for fault in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        raise InputError("the body is no received mail", problems=faults) from error
    references = given.references if isinstance(given.references, str) else None
    listed = given.references if isinstance(given.references, list) else []
    headers = {name: str(value) for name, value in given.headers.items()}
    found = _received(
        body,
        from_=given.from_,
        subject=given.subject,
        text=given.text,
        message_id=given.message_id,
        in_reply_to=given.in_reply_to,
        references=references or " ".join(listed),
        headers=headers,
    )
    if given.kind != "message":
        found.kind = InboundKind(given.kind)
        found.failures = [
            Failure(
                recipient=plain_address(given.recipient),
                severity=given.severity,
                status=given.status,
                diagnostic=clean(given.diagnostic, 500),
            )
        ]
    return found


def _from_fields(fields: dict[str, str], body: bytes) -> Received:
    """Read the fields of Mailgun's and SendGrid's forms, in which either may send a whole mail."""
    for name in ("body-mime", "email"):
        if ":" in fields.get(name, ""):
            return parse_mail(fields[name].encode("utf-8", "surrogateescape"))
    headers: dict[str, str] = {}
    if "message-headers" in fields:
        try:
            pairs = json.loads(fields["message-headers"])
            headers = {str(name): str(value) for name, value in pairs}
        except (ValueError, TypeError, RecursionError) as error:
            raise InputError("message-headers is no list of pairs") from error
    elif "headers" in fields:
        raw = fields["headers"].strip() + "\n\n"
        read = parse_mail(raw.encode("utf-8", "surrogateescape"))
        parsed = message_from_string(raw, policy=policy.compat32)
        headers = {name: str(value) for name, value in parsed.items()[:MAX_FIELDS]}
        headers |= {"message-id": read.message_id or ""}
    lower = {name.lower(): value for name, value in (headers | fields).items()}
    if not lower.get("from") and not lower.get("sender"):
        raise InputError("the form is none of a received mail: it has no 'from'")
    return _received(
        body,
        from_=lower.get("from") or lower.get("sender"),
        subject=lower.get("subject"),
        text=lower.get("body-plain") or lower.get("text") or lower.get("stripped-text"),
        message_id=lower.get("message-id"),
        in_reply_to=lower.get("in-reply-to"),
        references=lower.get("references"),
        headers=headers,
    )


def _received(
    body: bytes,
    *,
    from_: str | None,
    subject: str | None,
    text: str | None,
    message_id: str | None,
    in_reply_to: str | None,
    references: str | None,
    headers: dict[str, str],
) -> Received:
    from_address = plain_address(from_)
    given = {name.lower(): value for name, value in headers.items()}
    own = message_ids(_bracketed(message_id or given.get("message-id")))
    answered = message_ids(_bracketed(in_reply_to or given.get("in-reply-to")))
    older = message_ids(references or given.get("references"))
    return Received(
        kind=judge(headers.items(), from_address),
        message_id=clean(own[0]) if own else None,
        digest=digest_of(body),
        from_address=from_address,
        subject=clean(subject),
        text=clean(text, MAX_TEXT),
        references=list(dict.fromkeys([*answered, *reversed(older)])),
    )


def _bracketed(message_id: str | None) -> str | None:
    """Some give a Message-ID without its angle brackets."""
    if message_id is None or "<" in message_id or not message_id.strip():
        return message_id
    return f"<{message_id.strip()}>"


def _urlencoded(body: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise InputError("the form cannot be read") from error
    return dict(pairs)


def _multipart(body: bytes, content_type: str) -> dict[str, str]:
    """Read the text fields of a form (RFC 7578), which is built as a mail is."""
    if body.count(b"\n--") > MAX_FIELDS:
        raise InputError(f"the form has more than {MAX_FIELDS} fields")
    head = b"Content-Type: " + content_type[:500].encode("latin-1", "replace") + b"\r\n\r\n"
    fields: dict[str, str] = {}
    try:
        form = message_from_bytes(head + body, _class=EmailMessage, policy=policy.HTTP)
        for part in form.iter_parts() if form.is_multipart() else ():
            name = part.get_param("name", header="content-disposition")
            content = part.get_payload(decode=True)
            if isinstance(name, str) and isinstance(content, bytes) and not part.get_filename():
                fields[name] = content.decode("utf-8", "surrogateescape")
    except Exception as error:
        # The parser meets errors of many types in what is not well formed.
        raise InputError("the form cannot be read") from error
    return fields
