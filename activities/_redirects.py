"""The next hop of a redirect: what goes on to it, and what stays behind."""

from collections.abc import Collection

import httpx2

from activities._client import GuardedClient
from activities._urls import check_url
from activities.errors import ActionError
from activities.http_auth import origin
from activities.masking import masked
from schemas.errors import ErrorCode

MAX_REDIRECTS = 3
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CREDENTIALS = (
    "authorization",
    "cookie",
    "proxy-authorization",
    "x-api-key",
    "x-auth-token",
    "api-key",
)


def redirected(
    client: GuardedClient,
    request: httpx2.Request,
    response: httpx2.Response,
    credentials: Collection[str] = (),
) -> httpx2.Request:
    """Build the request of the next hop, as RFC 9110 15.4 and browsers do.

    `credentials` are the names of headers that stay at their origin, as Authorization does.
    Raises ActionError HTTP_ERROR for a hop that is not made.
    """
    try:
        target = check_url(str(request.url.join(response.headers["location"])))
    except (ValueError, httpx2.InvalidURL) as error:
        raise _refused_redirect(f"to a bad URL: {error}") from error
    if request.url.scheme == "https" and target.scheme != "https":
        raise _refused_redirect("from https to http")
    status, method = response.status_code, request.method
    headers = httpx2.Headers(request.headers)
    del headers["host"]
    content: bytes | None = request.content
    if origin(target) != origin(request.url):
        private = {*_CREDENTIALS, *(name.lower() for name in credentials)}
        for name, text in request.headers.items():
            # By value too: a secret may stand in any header.
            if name.lower() in private or masked(text) != text:
                headers.pop(name, None)
        if status in (307, 308) and _holds_secret(content):
            raise _refused_redirect("to another origin, of a body with a secret,")
    if (status == 303 and method != "HEAD") or (status in (301, 302) and method == "POST"):
        method, content = "GET", None
    if content is None or method in ("GET", "HEAD"):
        content = None
        for name in ("content-length", "content-type", "transfer-encoding", "idempotency-key"):
            headers.pop(name, None)
    return client.build_request(
        method,
        target,
        headers=headers,
        content=content,
        extensions=request.extensions,
    )


def _holds_secret(content: bytes) -> bool:
    text = content.decode("utf-8", errors="replace")
    return masked(text) != text


def _refused_redirect(how: str) -> ActionError:
    return ActionError(
        f"a redirect {how} is not followed", code=ErrorCode.HTTP_ERROR, retryable=False
    )
