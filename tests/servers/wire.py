"""A bare HTTP/1.1 server on asyncio streams: a handler writes whatever bytes it likes."""

import asyncio
import ssl
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.servers.loopback import LoopbackServer

# A key made for these tests; its authority's own key is thrown away.
_TLS = Path(__file__).parent / "tls"


@dataclass
class Received:
    """One request as it came over the wire; header names are in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Handler = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class WireServer(LoopbackServer):
    """Serves one handler on a free loopback port, and remembers every request."""

    handler: Handler
    host: str = "127.0.0.1"
    tls: ssl.SSLContext | None = None
    requests: list[Received] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.host}:{self.port}"

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hand the connection's requests to the handler, one after the other."""
        self.connections += 1
        while (request := await _read(reader)) is not None:
            self.requests.append(request)
            await self.handler(request, writer)
            await writer.drain()


class WireAnswers(ABC):
    """A server of its own kind over a WireServer, whose handler is `answer`; use it likewise."""

    async def __aenter__(self) -> Self:
        self._wire = await WireServer(self.answer).__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._wire.__aexit__(kind, error, trace)

    @property
    def port(self) -> int:
        """Its port on loopback."""
        return self._wire.port

    @abstractmethod
    async def answer(self, request: Received, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""


async def _read(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {
        name.strip().lower(): text.strip()
        for name, _, text in (line.partition(":") for line in lines if line)
    }
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method, target, headers, body)


def server_tls() -> ssl.SSLContext:
    """A context for a server named `secure.example`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_TLS / "server.pem", _TLS / "server.key")
    return context


def client_tls() -> ssl.SSLContext:
    """A context for clients that trust the test's authority and no other."""
    return ssl.create_default_context(cafile=str(_TLS / "ca.pem"))


def respond(
    writer: asyncio.StreamWriter,
    status: int = 200,
    body: bytes = b"",
    headers: dict[str, str] | None = None,
    reason: str = "Said",
) -> None:
    """Write one whole response that keeps the connection open."""
    given = {"content-length": str(len(body))} | (headers or {})
    head = "".join(f"{name}: {text}\r\n" for name, text in given.items())
    writer.write(f"HTTP/1.1 {status} {reason}\r\n{head}\r\n".encode("latin-1") + body)
