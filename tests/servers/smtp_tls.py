"""An SMTP server that takes mail over TLS alone."""

import asyncio
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from aiosmtpd.smtp import SMTP, Envelope, Session

_TLS = Path(__file__).parent / "tls"
# What a client of `mail_tls` must trust; the authority's own key is thrown away.
AUTHORITY = _TLS / "mail-ca.pem"
HOST = "127.0.0.1"


def mail_tls() -> ssl.SSLContext:
    """A context for a server whose certificate is for 127.0.0.1 and localhost."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_TLS / "mail.pem", _TLS / "mail.key")
    return context


@dataclass
class TlsSmtp:
    """An aiosmtpd server on a free loopback port; use it as `async with TlsSmtp(…) as server`.

    `implicit`: TLS from the first byte, else STARTTLS is required before MAIL. `ciphers` holds the
    cipher under which each of `mails` came; `connections` counts every try.
    """

    tls: ssl.SSLContext
    implicit: bool
    mails: list[bytes] = field(default_factory=list)
    ciphers: list[str | None] = field(default_factory=list)
    connections: int = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.get_running_loop().create_server(
            self._connection, HOST, 0, ssl=self.tls if self.implicit else None
        )
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()

    @property
    def url(self) -> str:
        """The address for `SMTP_URL`, with the TLS option that fits."""
        if self.implicit:
            return f"smtps://{HOST}:{self.port}"
        return f"smtp://{HOST}:{self.port}?starttls=required"

    # The method's name is aiosmtpd's.
    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Keep a mail and the cipher it came under."""
        assert isinstance(envelope.content, bytes)
        assert server.transport is not None
        self.mails.append(envelope.content)
        cipher = server.transport.get_extra_info("cipher")
        self.ciphers.append(cipher[0] if cipher else None)
        return "250 OK"

    def _connection(self) -> SMTP:
        self.connections += 1
        return SMTP(
            self,
            hostname="secure",
            tls_context=None if self.implicit else self.tls,
            require_starttls=not self.implicit,
        )
