"""Lets the pages of Temporal's Web UI call the codec server, and no other page, and nothing else.

The CORS protocol of the Fetch standard. A caller's token is in a header; the cookie of a signed-in
browser is let through where payloads are opened, and nowhere else.
"""

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

DECODE = "/api/v1/codec/decode"
PATHS = frozenset({DECODE, "/api/v1/codec/encode"})
# What the Web UI sends (with an access token, the ID token too), and our own.
_HEADERS = (
    "authorization, authorization-extras, content-type, x-api-key, x-namespace, x-workflow-id"
)
_MAX_AGE = "600"


class CodecCorsMiddleware:
    """Answers preflights of one origin, and lets its pages read the answers."""

    def __init__(self, app: ASGIApp, *, origin: str | None) -> None:
        """Wrap `app`; without an `origin` nothing changes."""
        self.app = app
        self.origin = origin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or self.origin is None or scope["path"] not in PATHS:
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        allowed = headers.get("origin") == self.origin
        if allowed and scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await self._preflight(scope["path"])(scope, receive, send)
            return

        async def send_with_origin(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                answer.add_vary_header("Origin")
                if allowed:
                    answer.update(self._allowed(scope["path"]))
            await send(message)

        await self.app(scope, receive, send_with_origin)

    def _allowed(self, path: str) -> dict[str, str]:
        found = {"Access-Control-Allow-Origin": str(self.origin)}
        if path == DECODE:
            found["Access-Control-Allow-Credentials"] = "true"
        return found

    def _preflight(self, path: str) -> Response:
        return Response(
            status_code=204,
            headers={
                **self._allowed(path),
                "Access-Control-Allow-Methods": "POST",
                "Access-Control-Allow-Headers": _HEADERS,
                "Access-Control-Max-Age": _MAX_AGE,
                "Vary": "Origin",
            },
        )
