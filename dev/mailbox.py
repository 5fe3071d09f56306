"""A local mailbox: an SMTP server that keeps what it gets, so that no mail leaves the machine."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session

from dev.ports import HOST

MAX_MESSAGE_BYTES = 32 * 1024 * 1024
_UNSAFE = re.compile(r"[^A-Za-z0-9@._+-]")


@dataclass(frozen=True)
class Mail:
    """One received mail: the envelope's addresses and the parsed message."""

    sender: str
    recipients: list[str]
    message: EmailMessage
    received_at: datetime
    path: Path | None = None

    @property
    def subject(self) -> str:
        """The subject, decoded."""
        return str(self.message["subject"] or "")

    @property
    def message_id(self) -> str:
        """The Message-ID with its angle brackets."""
        return str(self.message["message-id"] or "").strip()

    @property
    def text(self) -> str:
        """The plain text part, "" if there is none."""
        return self._body("plain")

    @property
    def html(self) -> str:
        """The HTML part, "" if there is none."""
        return self._body("html")

    def _body(self, kind: str) -> str:
        part = self.message.get_body((kind,))
        return "" if part is None else str(part.get_content())


class Mailbox:
    """An SMTP server on loopback; with a folder every mail is also kept there as an `.eml` file.

    `refuse` is a hook for tests: given the recipient it returns an SMTP reply such as
    `450 try again` to refuse with, or None to accept.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        folder: Path | None = None,
        on_mail: Callable[[Mail], None] | None = None,
    ) -> None:
        """Plan a mailbox; port 0 lets the kernel choose."""
        self.messages: list[Mail] = []
        self.refuse: Callable[[str], str | None] | None = None
        self._port = port
        self._folder = folder
        self._on_mail = on_mail
        self._server: asyncio.Server | None = None
        self._arrived = asyncio.Condition()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._port

    @property
    def url(self) -> str:
        """The address for `SMTP_URL`."""
        return f"smtp://{HOST}:{self.port}"

    async def start(self) -> None:
        """Listen; with a folder the mails already there are read first."""
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self.messages += [_load(path) for path in sorted(self._folder.glob("*.eml"))]
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connection, HOST, self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening; what came stays."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def to(self, address: str) -> list[Mail]:
        """Give the mails to one recipient, in order of arrival."""
        return [mail for mail in self.messages if address in mail.recipients]

    def clear(self) -> None:
        """Forget the mails in memory."""
        self.messages.clear()

    async def wait_for(
        self, count: int, *, to: str | None = None, deadline: float = 10.0
    ) -> list[Mail]:
        """Wait until there are `count` mails (to one address); raises TimeoutError.

        `deadline` is in seconds.
        """

        def found() -> list[Mail]:
            return list(self.messages) if to is None else self.to(to)

        try:
            async with asyncio.timeout(deadline), self._arrived:
                await self._arrived.wait_for(lambda: len(found()) >= count)
        except TimeoutError:
            have = [(mail.recipients, mail.subject) for mail in found()]
            raise TimeoutError(f"{len(have)} of {count} mails after {deadline} s: {have}") from None
        return found()

    # The names of the handle_ methods are aiosmtpd's.
    async def handle_RCPT(
        self,
        server: SMTP,  # noqa: ARG002
        session: Session,  # noqa: ARG002
        envelope: Envelope,
        address: str,
        rcpt_options: list[str],  # noqa: ARG002
    ) -> str:
        """Accept a recipient, unless the test's hook refuses it."""
        reply = self.refuse(address) if self.refuse is not None else None
        if reply is not None:
            return reply
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(
        self,
        server: SMTP,  # noqa: ARG002
        session: Session,  # noqa: ARG002
        envelope: Envelope,
    ) -> str:
        """Keep a mail."""
        content: Any = envelope.content or b""
        now = datetime.now(UTC)
        mail = Mail(
            sender=envelope.mail_from or "",
            recipients=list(envelope.rcpt_tos),
            message=_parse(content),
            received_at=now,
            path=self._keep(content, envelope, now),
        )
        self.messages.append(mail)
        if self._on_mail is not None:
            self._on_mail(mail)
        async with self._arrived:
            self._arrived.notify_all()
        return "250 OK"

    def _keep(self, content: bytes, envelope: Envelope, now: datetime) -> Path | None:
        if self._folder is None:
            return None
        name = _UNSAFE.sub("_", envelope.rcpt_tos[0])[:80]
        path = self._folder / f"{now:%Y%m%dT%H%M%S%f}-{name}.eml"
        head = f"X-Envelope-From: {envelope.mail_from or ''}\r\n" + "".join(
            f"X-Envelope-To: {address}\r\n" for address in envelope.rcpt_tos
        )
        path.write_bytes(head.encode() + content)
        return path

    def _connection(self) -> SMTP:
        return SMTP(self, data_size_limit=MAX_MESSAGE_BYTES, enable_SMTPUTF8=True, hostname="dev")


def _parse(content: bytes) -> EmailMessage:
    # The policy's factory makes EmailMessage; the signature of the parser says Message.
    message: Any = message_from_bytes(content, policy=policy.default)
    return message


def _load(path: Path) -> Mail:
    message = _parse(path.read_bytes())
    return Mail(
        sender=str(message["x-envelope-from"] or ""),
        recipients=[str(value) for value in message.get_all("x-envelope-to", [])],
        message=message,
        received_at=datetime.fromtimestamp(path.stat().st_mtime, UTC),
        path=path,
    )
