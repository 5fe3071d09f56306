"""The one HTTP client of Sojourn: every outgoing request goes through a guarded transport."""

import asyncio
from collections.abc import AsyncIterator
from functools import cache
from http.cookiejar import DefaultCookiePolicy
from ssl import SSLContext
from typing import Any, NoReturn

import h11
import httpcore2
import httpx2

from activities._pool import Connection, Limits, Pool
from activities._ssrf import GuardedBackend, Resolver, TargetPolicy, system_resolver
from activities.errors import ActionError
from schemas.errors import ErrorCode

MAX_RESPONSE_BYTES = 10 * 1024 * 1024
MAX_CONNECTIONS = 200
# Pieces of a body, which a server may make of a byte each; and how many are read in one go.
_MAX_PARTS = 20_000
_BREATH = 64
# The extension of a request that is, or was, under way.
BEGUN = "begun"
# Seconds that an idle connection is kept: less than servers keep it, 5 s being usual, so that no
# request is sent into one that closes.
_KEEP = 4.0

# httpx2 defines an exception of the same name for each of httpcore2's; most specific first.
_EXCEPTIONS: tuple[tuple[type[Exception], type[httpx2.TransportError]], ...] = (
    (httpcore2.ConnectTimeout, httpx2.ConnectTimeout),
    (httpcore2.ReadTimeout, httpx2.ReadTimeout),
    (httpcore2.WriteTimeout, httpx2.WriteTimeout),
    (httpcore2.PoolTimeout, httpx2.PoolTimeout),
    (httpcore2.TimeoutException, httpx2.TimeoutException),
    (httpcore2.ConnectError, httpx2.ConnectError),
    (httpcore2.ReadError, httpx2.ReadError),
    (httpcore2.WriteError, httpx2.WriteError),
    (httpcore2.NetworkError, httpx2.NetworkError),
    (httpcore2.ProxyError, httpx2.ProxyError),
    (httpcore2.UnsupportedProtocol, httpx2.UnsupportedProtocol),
    (httpcore2.LocalProtocolError, httpx2.LocalProtocolError),
    (httpcore2.RemoteProtocolError, httpx2.RemoteProtocolError),
    (httpcore2.ProtocolError, httpx2.ProtocolError),
    (h11.LocalProtocolError, httpx2.LocalProtocolError),
    (h11.RemoteProtocolError, httpx2.RemoteProtocolError),
)


def _translated(error: Exception) -> Exception:
    for ours, theirs in _EXCEPTIONS:
        if isinstance(error, ours):
            return theirs(str(error))
    return error


class _CappedBody(httpx2.AsyncByteStream):
    """A response body that stops with LIMIT_EXCEEDED above MAX_RESPONSE_BYTES on the wire."""

    def __init__(self, pool: Pool, connection: Connection, timeout: float | None) -> None:
        self._pool = pool
        self._connection: Connection | None = connection
        self._timeout = timeout
        self._seen = 0
        self._parts = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._connection is None:
            raise StopAsyncIteration
        try:
            part = await self._connection.part(self._timeout)
        except BaseException as error:
            await self.aclose()
            if isinstance(error, Exception) and (told := _translated(error)) is not error:
                raise told from error
            raise
        if part is None:
            await self.aclose()
            raise StopAsyncIteration
        self._seen += len(part)
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise ActionError(
                f"the response comes in more than {_MAX_PARTS:,} pieces",
                code=ErrorCode.LIMIT_EXCEEDED,
                retryable=False,
                details={"limit": _MAX_PARTS},
            )
        if self._parts % _BREATH == 0:
            # What is there already is read without waiting: others have their turn all the same.
            await asyncio.sleep(0)
        if self._seen > MAX_RESPONSE_BYTES:
            raise ActionError(
                f"the response is larger than {MAX_RESPONSE_BYTES:,} bytes",
                code=ErrorCode.LIMIT_EXCEEDED,
                retryable=False,
                details={"limit": MAX_RESPONSE_BYTES},
            )
        return part

    async def aclose(self) -> None:
        """Give the connection back; with the body half read it is closed."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            self._pool.release(connection)


def _check_coding(request: httpx2.Request, head: h11.Response) -> None:
    """Refuse a compressed answer to who did not ask for one: it can grow a thousandfold."""
    if request.headers.get("accept-encoding", "identity") != "identity":
        return
    for name, text in head.headers:
        if name == b"content-encoding" and text.strip().lower() not in (b"", b"identity"):
            raise ActionError(
                f"the response has the coding {text[:40]!r}, which was not asked for",
                code=ErrorCode.HTTP_ERROR,
                retryable=False,
            )


class GuardedTransport(httpx2.AsyncBaseTransport):
    """An httpx2 transport over a pool whose connections are judged by a TargetPolicy."""

    def __init__(
        self,
        policy: TargetPolicy,
        *,
        resolver: Resolver = system_resolver,
        ssl_context: SSLContext | None = None,
    ) -> None:
        """Build a transport; `resolver` and `ssl_context` are for tests and private CAs."""
        self._pool = Pool(
            GuardedBackend(policy, resolver=resolver),
            ssl_context or _default_context(),
            size=MAX_CONNECTIONS,
            keep=_KEEP,
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request; redirects are the caller's."""
        limits = Limits(**request.extensions.get("timeout", {}))
        connection: Connection | None = None
        try:
            connection = await self._pool.acquire(request.url, limits)
            # From here on the other side may have it, whatever comes.
            request.extensions[BEGUN] = True
            head = await connection.send(request, limits)
        except BaseException as error:
            if connection is not None:
                self._pool.release(connection)
            if isinstance(error, Exception) and (told := _translated(error)) is not error:
                raise told from error
            raise
        body = _CappedBody(self._pool, connection, limits.read)
        try:
            _check_coding(request, head)
        except BaseException:
            await body.aclose()
            raise
        return httpx2.Response(
            status_code=head.status_code,
            headers=head.headers.raw_items(),
            stream=body,
            extensions={
                "http_version": b"HTTP/" + head.http_version,
                "reason_phrase": head.reason,
            },
            request=request,
        )

    async def aclose(self) -> None:
        """Close every connection."""
        await self._pool.aclose()


class GuardedClient(httpx2.AsyncClient):
    """An httpx2 client over a guarded transport."""

    def __init__(self, transport: GuardedTransport, **settings: Any) -> None:
        """Build a client with httpx2's settings."""
        super().__init__(transport=transport, **settings)
        self._guarded = transport

    async def exchange(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request as it stands and give its answer, the body not read yet.

        What `send` does besides, such as authentication, redirects and cookies, an http step does
        itself or does not want; it would cost as much as the exchange.
        """
        return await self._guarded.handle_async_request(request)

    async def send(self, request: httpx2.Request, **settings: Any) -> httpx2.Response:
        """Send a request as httpx2 does, for SDKs, whatever they ask for beyond.

        Its answer is uncompressed: httpx2 would decompress into memory without a bound. Redirects
        are not followed: only Authorization would stay behind, not a vendor's own key header.
        """
        request.headers["accept-encoding"] = "identity"
        return await super().send(request, **{**settings, "follow_redirects": False})


def guarded_client(
    policy: TargetPolicy,
    *,
    resolver: Resolver = system_resolver,
    ssl_context: SSLContext | None = None,
) -> GuardedClient:
    """Build a client that follows no redirects, keeps no cookies and reads no environment.

    It asks for uncompressed bodies: a compressed one can grow a thousandfold while it is read.
    """
    transport = GuardedTransport(policy, resolver=resolver, ssl_context=ssl_context)
    client = GuardedClient(
        transport,
        trust_env=False,
        follow_redirects=False,
        timeout=httpx2.Timeout(30.0, connect=10.0),
        headers={"user-agent": "sojourn", "accept-encoding": "identity"},
    )
    # One run's cookies must never travel with another run's request.
    client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return client


@cache
def _default_context() -> SSLContext:
    return httpx2.create_ssl_context(trust_env=False)


class _Closed(httpx2.BaseTransport):
    def handle_request(self, request: httpx2.Request) -> NoReturn:
        raise httpx2.UnsupportedProtocol(f"no synchronous request to {request.url.host}")


def closed_client() -> httpx2.Client:
    """Build a client that refuses every request, for an SDK that asks for a synchronous one."""
    return httpx2.Client(transport=_Closed(), trust_env=False)
