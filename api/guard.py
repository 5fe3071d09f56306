"""The outermost ring: body size, and errors that nothing else has answered."""

from collections.abc import Mapping

import structlog
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.correlation import public_path
from api.errors import problem_response
from schemas.errors import ErrorCode

_log = structlog.get_logger(__name__)


class BodyTooLargeError(HTTPException):
    """The body grew over the limit while it was read; FastAPI lets an HTTPException through."""

    def __init__(self, limit: int) -> None:
        """Name the limit in bytes."""
        super().__init__(413, f"the body is larger than {limit} bytes")


class GuardMiddleware:
    """Refuses bodies over `max_body_bytes` with 413, and turns unexpected errors into a bare 500.

    Starlette's own limiter answers in plain text, and a response of its own is what clients of a
    problem+json API cannot read; hence this one. The length is checked first, then counted.
    """

    def __init__(
        self, app: ASGIApp, *, max_body_bytes: int, larger: Mapping[str, int] | None = None
    ) -> None:
        """Wrap `app`; `larger` has the limits, in bytes, of paths that take larger bodies."""
        self.app = app
        self.max_body_bytes = max_body_bytes
        self.larger = larger or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self.larger.get(scope["path"], self.max_body_bytes)
        length = Headers(scope=scope).get("content-length", "")
        if length.isdecimal() and int(length[:20]) > limit:
            detail = f"the body is larger than {limit} bytes"
            response = problem_response(
                413, ErrorCode.LIMIT_EXCEEDED, detail, headers={"Connection": "close"}
            )
            await response(scope, receive, send)
            return
        received = 0
        begun = False

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > limit:
                    raise BodyTooLargeError(limit)
            return message

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, counted, watched)
        except Exception:
            # The client learns the request id and nothing else: a stack names our insides.
            _log.exception("unhandled_error", path=public_path(scope["path"]))
            if begun:
                raise
            detail = "an internal error; the logs have it under the request id"
            response = problem_response(500, ErrorCode.INTERNAL, detail)
            await response(scope, receive, send)
