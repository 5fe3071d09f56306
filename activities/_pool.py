"""HTTP/1.1 connections of the guarded client, kept open between requests.

A pool of our own, where taking and giving back a connection costs the same however many are open:
httpcore2's looks at every one of them, twice for each request.
"""

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from ssl import SSLContext

import h11
import httpcore2
import httpx2

from activities._streams import LoopStream

# Scheme, host and port.
Origin = tuple[bytes, bytes, int]
_PORTS = {b"http": 80, b"https": 443}
_READ_BYTES = 64 * 1024
# Bytes of a response's head, and heads that announce another one (RFC 9110, 15.2).
_MAX_HEAD = 100 * 1024
_MAX_INTERIM = 32


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds that a request allows for its parts; None is for ever."""

    connect: float | None = None
    read: float | None = None
    write: float | None = None
    pool: float | None = None


class Connection:
    """One connection, and the state of the exchange on it; raises httpcore2's and h11's errors."""

    def __init__(self, origin: Origin, stream: LoopStream) -> None:
        """Speak HTTP/1.1 over a connected stream."""
        self.origin = origin
        self.idle_since = 0.0
        self._stream = stream
        self._state = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)

    async def send(self, request: httpx2.Request, limits: Limits) -> h11.Response:
        """Send a request and read the head of its answer."""
        if not isinstance(request.stream, httpx2.AsyncByteStream):
            raise TypeError("the guarded client sends asynchronous bodies only")
        state, stream, wait = self._state, self._stream, limits.write
        head = state.send(
            h11.Request(
                method=request.method, target=request.url.raw_path, headers=request.headers.raw
            )
        )
        try:
            if isinstance(request.stream, httpx2.ByteStream):
                # All of it is there: head and body leave together.
                body = [h11.Data(data=part) for part in request.stream if part]
                rest = (state.send(event) for event in (*body, h11.EndOfMessage()))
                await stream.write(b"".join((head or b"", *(part or b"" for part in rest))), wait)
            else:
                await stream.write(head or b"", wait)
                async for part in request.stream:
                    await stream.write(state.send(h11.Data(data=part)) or b"", wait)
                await stream.write(state.send(h11.EndOfMessage()) or b"", wait)
        except httpcore2.WriteError:
            # A server may answer, and close, before it has read everything.
            state.send_failed()
        for _ in range(_MAX_INTERIM):
            event = await self._next(limits.read)
            if isinstance(event, h11.Response):
                return event
            if event is None:
                raise httpcore2.RemoteProtocolError("the server changes to an unknown protocol")
        raise httpcore2.RemoteProtocolError("the server sends nothing but interim responses")

    async def part(self, timeout: float | None) -> bytes | None:
        """Read the next part of the body; None at its end."""
        event = await self._next(timeout)
        return bytes(event.data) if isinstance(event, h11.Data) else None

    async def _next(self, timeout: float | None) -> h11.Event | None:
        """Give the next event; None where h11 reads no further."""
        state = self._state
        while True:
            event = state.next_event()
            if isinstance(event, h11.Event):
                return event
            if event is h11.PAUSED:
                return None
            data = await self._stream.read(_READ_BYTES, timeout)
            if not data and state.their_state is h11.SEND_RESPONSE:
                raise httpcore2.RemoteProtocolError(
                    "Server disconnected without sending a response."
                )
            state.receive_data(data)

    def rest(self) -> bool:
        """Prepare for the next request; gives False where there cannot be one."""
        state = self._state
        if state.our_state is not h11.DONE or state.their_state is not h11.DONE:
            return False
        unasked, _ = state.trailing_data
        if unasked:
            # It would be read as the answer to the next request.
            return False
        state.start_next_cycle()
        self.idle_since = time.monotonic()
        return True

    @property
    def gone(self) -> bool:
        """True where the server has closed the idle connection."""
        return self._stream.gone

    def close(self) -> None:
        """Close at once."""
        self._stream.close()


class Pool:
    """Up to `size` connections, the idle ones kept for `keep` seconds by origin."""

    def __init__(
        self,
        backend: httpcore2.AsyncNetworkBackend,
        ssl_context: SSLContext,
        *,
        size: int,
        keep: float,
    ) -> None:
        """Make connections with `backend`."""
        ssl_context.set_alpn_protocols(["http/1.1"])
        self._backend = backend
        self._ssl_context = ssl_context
        self._size = size
        self._keep = keep
        self._open: set[Connection] = set()
        self._opening = 0
        # Of each origin the most recently used connection stands last.
        self._idle: dict[Origin, list[Connection]] = {}
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def acquire(self, url: httpx2.URL, limits: Limits) -> Connection:
        """Take an idle connection, or make one; raises PoolTimeout where none comes free."""
        scheme = url.raw_scheme
        if scheme not in _PORTS:
            raise httpcore2.UnsupportedProtocol(f"the protocol {url.scheme!r} is not spoken")
        origin = (scheme, url.raw_host, url.port or _PORTS[scheme])
        while True:
            kept = self._idle.get(origin)
            while kept:
                connection = kept.pop()
                if time.monotonic() - connection.idle_since < self._keep and not connection.gone:
                    return connection
                self._drop(connection)
            self._sweep()
            if len(self._open) + self._opening < self._size or self._make_room():
                return await self._connect(origin, limits)
            await self._wait(limits.pool)

    def release(self, connection: Connection) -> None:
        """Give a connection back; one in the middle of an exchange is closed."""
        if connection in self._open and connection.rest():
            self._idle.setdefault(connection.origin, []).append(connection)
            self._wake()
        else:
            self._drop(connection)

    async def aclose(self) -> None:
        """Close every connection."""
        self._idle.clear()
        for connection in list(self._open):
            self._drop(connection)
        # Transports close their sockets in the next turn of the loop.
        await asyncio.sleep(0)

    async def _connect(self, origin: Origin, limits: Limits) -> Connection:
        scheme, host, port = origin
        name = host.decode("ascii")
        self._opening += 1
        try:
            stream = await self._backend.connect_tcp(name, port, limits.connect)
            if scheme == b"https":
                stream = await stream.start_tls(self._ssl_context, name, limits.connect)
        except BaseException:
            self._wake()
            raise
        finally:
            self._opening -= 1
        assert isinstance(stream, LoopStream), "the backend connects with the loop"
        connection = Connection(origin, stream)
        self._open.add(connection)
        return connection

    def _drop(self, connection: Connection) -> None:
        connection.close()
        self._open.discard(connection)
        self._wake()

    def _sweep(self) -> None:
        """Close what was idle for too long."""
        oldest = time.monotonic() - self._keep
        for origin, kept in list(self._idle.items()):
            for connection in [one for one in kept if one.idle_since < oldest]:
                kept.remove(connection)
                self._drop(connection)
            if not kept:
                del self._idle[origin]

    def _make_room(self) -> bool:
        """Close the idle connection that was used longest ago; gives False where none is idle."""
        first = [kept[0] for kept in self._idle.values() if kept]
        if not first:
            return False
        oldest = min(first, key=lambda one: one.idle_since)
        self._idle[oldest.origin].remove(oldest)
        self._drop(oldest)
        return True

    def _wake(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    async def _wait(self, timeout: float | None) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(timeout):
                await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled():
                # It was this one's turn; the next waiter takes it.
                self._wake()
            if isinstance(error, TimeoutError):
                raise httpcore2.PoolTimeout("every connection is in use") from error
            raise
