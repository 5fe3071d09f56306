"""Streams of the HTTP pool that are asked cheaply whether their server has gone."""

import time
from ssl import SSLContext
from typing import Any

import httpcore2

# Seconds after its last use in which a connection counts as alive.
_FRESH = 0.2


class KeptStream(httpcore2.AsyncNetworkStream):
    """A network stream that polls its socket only when it has been idle for a while.

    The pool asks every idle connection, at each begin and end of a request, whether its server has
    closed it. Each question is a poll() that gives the interpreter lock away: with dozens of
    connections that costs more than the requests themselves.
    """

    def __init__(self, inner: httpcore2.AsyncNetworkStream) -> None:
        """Wrap a connected stream."""
        self._inner = inner
        self._used = time.monotonic()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read from the stream."""
        data = await self._inner.read(max_bytes, timeout)
        self._used = time.monotonic()
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write to the stream."""
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        """Close the stream."""
        await self._inner.aclose()

    async def start_tls(
        self,
        ssl_context: SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Give a stream that speaks TLS over this one."""
        return KeptStream(await self._inner.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        """Give what the stream knows of itself; `is_readable` means that its server has gone."""
        if info == "is_readable" and time.monotonic() - self._used < _FRESH:
            return False
        return self._inner.get_extra_info(info)
