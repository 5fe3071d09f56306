"""The one HTTP client of Sojourn: every outgoing request goes through a guarded transport."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import cache
from http.cookiejar import DefaultCookiePolicy
from ssl import SSLContext

import httpcore2
import httpx2

from activities._ssrf import GuardedBackend, Resolver, TargetPolicy, system_resolver
from activities.errors import ActionError
from schemas.errors import ErrorCode

MAX_RESPONSE_BYTES = 10 * 1024 * 1024
MAX_CONNECTIONS = 200

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
)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        for ours, theirs in _EXCEPTIONS:
            if isinstance(error, ours):
                raise theirs(str(error)) from error
        raise


class _CappedStream(httpx2.AsyncByteStream):
    """A response body that stops with LIMIT_EXCEEDED above MAX_RESPONSE_BYTES on the wire."""

    def __init__(self, stream: httpcore2.Response) -> None:
        self._response = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        seen = 0
        with _translated():
            async for part in self._response.aiter_stream():
                seen += len(part)
                if seen > MAX_RESPONSE_BYTES:
                    raise ActionError(
                        f"the response is larger than {MAX_RESPONSE_BYTES:,} bytes",
                        code=ErrorCode.LIMIT_EXCEEDED,
                        retryable=False,
                        details={"limit": MAX_RESPONSE_BYTES},
                    )
                yield part

    async def aclose(self) -> None:
        await self._response.aclose()


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
        self._policy = policy
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=ssl_context or _default_context(),
            max_connections=MAX_CONNECTIONS,
            max_keepalive_connections=MAX_CONNECTIONS,
            keepalive_expiry=5.0,
            network_backend=GuardedBackend(policy, resolver=resolver),
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request; redirects are the caller's."""
        if not isinstance(request.stream, httpx2.AsyncByteStream):
            raise TypeError("the guarded client sends asynchronous bodies only")
        with _translated():
            response = await self._pool.handle_async_request(
                httpcore2.Request(
                    method=request.method,
                    url=httpcore2.URL(
                        scheme=request.url.raw_scheme,
                        host=request.url.raw_host,
                        port=request.url.port,
                        target=request.url.raw_path,
                    ),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        return httpx2.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_CappedStream(response),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        """Close every connection."""
        await self._pool.aclose()


def guarded_client(
    policy: TargetPolicy,
    *,
    resolver: Resolver = system_resolver,
    ssl_context: SSLContext | None = None,
) -> httpx2.AsyncClient:
    """Build a client that follows no redirects, keeps no cookies and reads no environment.

    It asks for uncompressed bodies: a compressed one can grow a thousandfold while it is read.
    """
    transport = GuardedTransport(policy, resolver=resolver, ssl_context=ssl_context)
    client = httpx2.AsyncClient(
        transport=transport,
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
