"""Who may call: the API key guards every endpoint that is not listed as public."""

import hashlib
import hmac
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from schemas.errors import ErrorCode, SojournError

_bearer = HTTPBearer(auto_error=False, description="the API key")
_header = APIKeyHeader(name="X-API-Key", auto_error=False, description="the API key")
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
_public: set[Callable[..., Any]] = set()


class UnauthorizedError(SojournError):
    """No API key came, or not the right one."""

    code = ErrorCode.UNAUTHORIZED


def public(endpoint: Endpoint) -> Endpoint:
    """Mark an endpoint as open to everybody; whatever is not marked is closed."""
    _public.add(endpoint)
    return endpoint


def public_operations() -> set[str]:
    """The operation ids of all public endpoints."""
    return {endpoint.__name__ for endpoint in _public}


def _same(given: str, expected: str) -> bool:
    # Digests have one length, so that the comparison tells nothing about the key's.
    return hmac.compare_digest(
        hashlib.sha256(given.encode("utf-8", "surrogateescape")).digest(),
        hashlib.sha256(expected.encode()).digest(),
    )


async def authenticate(
    request: Request,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
    header: Annotated[str | None, Security(_header)],
) -> None:
    """Let the request pass if its endpoint is public or it carries the API key."""
    # Identity of the function decides, not the path: a path can be written in many ways.
    if request.scope["route"].endpoint in _public:
        return
    given = header if header is not None else bearer.credentials if bearer else None
    if given is None:
        raise UnauthorizedError(
            "the API key is missing",
            hint="send 'Authorization: Bearer KEY' or 'X-API-Key: KEY'",
        )
    if not _same(given, request.app.state.config.api_key):
        raise UnauthorizedError("the API key is wrong")
