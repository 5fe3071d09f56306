"""A request id for every request: in the answer's header, in every log line, in errors."""

import re
from contextvars import ContextVar
from time import perf_counter

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from db import audit, tenancy
from db.ids import new_id

HEADER = b"x-request-id"
_SANE = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
_TOKEN = re.compile(r"(/hooks/|/mail/inbound/)[^/]+")
_current: ContextVar[str | None] = ContextVar("request_id", default=None)
_log = structlog.get_logger(__name__)


def public_path(path: str) -> str:
    """Give a path as logs may show it: without the token of a hook or inbox, which is a secret."""
    return _TOKEN.sub(r"\1***", path)


def request_id() -> str | None:
    """The id of the request being answered, None outside of one."""
    return _current.get()


def _client(scope: Scope) -> str | None:
    """Give the address that the request came from, which may be a proxy's."""
    client = scope.get("client")
    return client[0] if client else None


class CorrelationMiddleware:
    """Takes a sane `X-Request-ID` or makes one, and logs each request once with its duration.

    A plain ASGI middleware, not Starlette's BaseHTTPMiddleware: that one would break streaming.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == HEADER), b"")
        identity = given.decode() if _SANE.fullmatch(given) else new_id()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message.get("headers", []), (HEADER, identity.encode())]
                message = {**message, "headers": headers}
            await send(message)

        token = _current.set(identity)
        started = perf_counter()
        # Whose rows this request sees is found out inside, and forgotten with it.
        with (
            structlog.contextvars.bound_contextvars(correlation_id=identity),
            tenancy.scope(None),
            audit.request(identity, _client(scope)),
        ):
            try:
                await self.app(scope, receive, send_with_id)
            finally:
                _current.reset(token)
                _log.info(
                    "request",
                    method=scope["method"],
                    path=public_path(scope["path"]),
                    status=status,
                    duration_ms=round((perf_counter() - started) * 1000, 1),
                )
                structlog.contextvars.unbind_contextvars("actor", "workspace")
