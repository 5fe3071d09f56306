"""Network streams on the event loop's own transports, for the guarded HTTP client.

The loop says when a server has gone, so that nobody needs to poll an idle connection's socket.
"""

import asyncio
import select
import time
from collections.abc import Iterable
from ssl import SSLContext, SSLError
from typing import Any, Self, cast

import httpcore2

# Bytes received that nobody has read yet, above which the server has to wait.
_HELD_BYTES = 256 * 1024
# Seconds of idleness in which the loop cannot have missed that the server has gone.
_FRESH = 0.2


class LoopStream(asyncio.Protocol, httpcore2.AsyncNetworkStream):
    """A connected TCP or TLS stream; raises httpcore2's errors."""

    def __init__(self) -> None:
        """Make the protocol of a connection about to be made."""
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._ended = False
        self._held = False
        self._full = False
        self._error: Exception | None = None
        self._reader: asyncio.Future[bool] | None = None
        self._writer: asyncio.Future[bool] | None = None
        self._used = time.monotonic()

    # -- what the loop calls -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # uvloop's transports have the methods, but not the base class.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Keep what came for the reader."""
        self._received = self._received + data if self._received else data
        if len(self._received) > _HELD_BYTES and not self._held and self._transport is not None:
            self._held = True
            self._transport.pause_reading()
        _wake(self._reader)

    def eof_received(self) -> None:
        """Note that the server sends no more; the transport then closes itself."""
        self._ended = True
        _wake(self._reader)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the connection is gone."""
        self._ended = True
        self._error = exc
        _wake(self._reader)
        _wake(self._writer)

    def pause_writing(self) -> None:
        """Make writers wait."""
        self._full = True

    def resume_writing(self) -> None:
        """Let writers go on."""
        self._full = False
        _wake(self._writer)

    # -- what the client calls ---------------------------------------------------------------

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what is there, or comes within `timeout` seconds; b"" at the end."""
        while not self._received:
            if self._error is not None:
                raise httpcore2.ReadError(str(self._error)) from self._error
            if self._ended:
                return b""
            self._reader = self._loop.create_future()
            if not await _within(self._loop, self._reader, timeout):
                raise httpcore2.ReadTimeout(f"nothing came within {timeout:g} s")
        data, self._received = self._received[:max_bytes], self._received[max_bytes:]
        if self._held and not self._received and self._transport is not None:
            self._held = False
            self._transport.resume_reading()
        self._used = time.monotonic()
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write; waits up to `timeout` seconds while the server takes no more."""
        if self._transport is None or self._ended:
            raise httpcore2.WriteError("the server has closed the connection")
        self._transport.write(buffer)
        while self._full and not self._ended:
            self._writer = self._loop.create_future()
            if not await _within(self._loop, self._writer, timeout):
                raise httpcore2.WriteTimeout(f"the server took nothing within {timeout:g} s")

    async def aclose(self) -> None:
        """Close at once: what could not be written by now is of no use to the server."""
        self.close()

    def close(self) -> None:
        """Close at once."""
        self._ended = True
        if self._transport is not None:
            self._transport.abort()

    async def start_tls(
        self,
        ssl_context: SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> Self:
        """Speak TLS from here on; raises ConnectError where the certificate is refused."""
        if self._transport is None:
            raise httpcore2.ConnectError("the connection is not made")
        try:
            async with asyncio.timeout(timeout):
                transport = await self._loop.start_tls(
                    self._transport, self, ssl_context, server_hostname=server_hostname
                )
        except TimeoutError as error:
            self.close()
            raise httpcore2.ConnectTimeout("the TLS handshake took too long") from error
        except (SSLError, OSError) as error:
            self.close()
            raise httpcore2.ConnectError(str(error)) from error
        except BaseException:
            self.close()
            raise
        if transport is None:
            raise httpcore2.ConnectError("the server went away during the TLS handshake")
        self._transport = transport
        return self

    @property
    def gone(self) -> bool:
        """True where an idle connection is of no more use: closed, or the server speaks unasked."""
        if self._ended or self._received or self._transport is None:
            return True
        if time.monotonic() - self._used < _FRESH:
            return False
        # A loop that was busy for long may not have heard of the end yet.
        polled = select.poll()
        polled.register(self._transport.get_extra_info("socket"), select.POLLIN)
        return bool(polled.poll(0))

    def get_extra_info(self, info: str) -> Any:
        """Give what the stream knows of itself, by httpcore2's names."""
        if info == "is_readable":
            return self.gone
        names = {"client_addr": "sockname", "server_addr": "peername"}
        found = self._transport
        return None if found is None else found.get_extra_info(names.get(info, info))


class LoopBackend(httpcore2.AsyncNetworkBackend):
    """Connects with the running loop."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> LoopStream:
        """Connect within `timeout` seconds; raises httpcore2's ConnectError, ConnectTimeout."""
        local = None if local_address is None else (local_address, 0)
        try:
            async with asyncio.timeout(timeout):
                transport, stream = await asyncio.get_running_loop().create_connection(
                    LoopStream, host, port, local_addr=local
                )
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout(f"connecting to {host} took too long") from error
        except OSError as error:
            raise httpcore2.ConnectError(str(error)) from error
        for option in socket_options or ():
            transport.get_extra_info("socket").setsockopt(*option)
        return stream


def _wake(waiter: "asyncio.Future[bool] | None") -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(True)


async def _within(
    loop: asyncio.AbstractEventLoop, waiter: "asyncio.Future[bool]", timeout: float | None
) -> bool:
    """Wait; gives False when the time was over first."""
    timer = None if timeout is None else loop.call_later(timeout, _expire, waiter)
    try:
        return await waiter
    finally:
        if timer is not None:
            timer.cancel()


def _expire(waiter: "asyncio.Future[bool]") -> None:
    if not waiter.done():
        waiter.set_result(False)
