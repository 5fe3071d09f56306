"""Mails that come back, as servers and people write them."""

from email.message import EmailMessage
from email.policy import SMTP
from uuid import uuid4


def reply(
    from_: str, message_id: str | None, *, text: str = "Yes, gladly.", **headers: str
) -> bytes:
    """A person's answer to a mail."""
    message = EmailMessage(policy=SMTP)
    message["From"] = f'"Ada, of Sales" <{from_}>'
    message["To"] = "news@mail.example"
    message["Subject"] = "Re: Grüße"
    message["Message-ID"] = f"<{uuid4().hex}@home.example>"
    if message_id is not None:
        message["In-Reply-To"] = message_id
        message["References"] = f"<first@elsewhere.example> {message_id}"
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    message.set_content(text)
    return bytes(message)


def bounce(
    recipient: str,
    message_id: str | None,
    *,
    status: str = "5.1.1",
    action: str = "failed",
    diagnostic: str = "smtp; 550 5.1.1 no such user",
) -> bytes:
    """A delivery status notification (RFC 3464)."""
    returned = f"Message-ID: {message_id}\r\nSubject: Hi\r\n" if message_id else "Subject: Hi\r\n"
    return _report(
        "delivery-status",
        "Reporting-MTA: dns; mx.example\r\n\r\n"
        f"Final-Recipient: rfc822; {recipient}\r\nAction: {action}\r\nStatus: {status}\r\n"
        f"Diagnostic-Code: {diagnostic}\r\n",
        returned,
    )


def complaint(recipient: str, message_id: str, kind: str = "abuse") -> bytes:
    """A report of abuse (RFC 5965)."""
    return _report(
        "feedback-report",
        f"Feedback-Type: {kind}\r\nUser-Agent: Loop/1\r\nVersion: 1\r\n"
        f"Original-Rcpt-To: <{recipient}>\r\n",
        f"Message-ID: {message_id}\r\n",
    )


def _report(kind: str, report: str, returned: str) -> bytes:
    return (
        f"From: Mail Delivery <MAILER-DAEMON@mx.example>\r\nTo: news@mail.example\r\n"
        f"Subject: Undelivered\r\nMessage-ID: <{uuid4().hex}@mx.example>\r\n"
        f"Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
        f'Content-Type: multipart/report; report-type={kind}; boundary="=_b"\r\n\r\n'
        f"--=_b\r\nContent-Type: text/plain\r\n\r\nIt did not work.\r\n"
        f"--=_b\r\nContent-Type: message/{kind}\r\n\r\n{report}\r\n"
        f"--=_b\r\nContent-Type: text/rfc822-headers\r\n\r\n{returned}\r\n--=_b--\r\n"
    ).encode()
