"""Who may call: every endpoint that is not marked public asks for a credential and a role."""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import structlog
from fastapi import BackgroundTasks, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from api.authorization import authorise
from api.codec_session import given_by
from api.credentials import Credentials
from api.identity import UnauthorizedError
from db import tenancy

__all__ = ["UnauthorizedError", "authenticate", "public", "public_operations"]

_bearer = HTTPBearer(auto_error=False, description="an API key, or a token of the OIDC issuer")
_header = APIKeyHeader(name="X-API-Key", auto_error=False, description="an API key")
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
_public: set[Callable[..., Any]] = set()


def public(endpoint: Endpoint) -> Endpoint:
    """Mark an endpoint as open to everybody; whatever is not marked is closed."""
    _public.add(endpoint)
    return endpoint


def public_operations() -> set[str]:
    """The operation ids of all public endpoints."""
    return {endpoint.__name__ for endpoint in _public}


async def authenticate(
    request: Request,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
    header: Annotated[str | None, Security(_header)],
    after: BackgroundTasks,
) -> None:
    """Let the request pass if its endpoint is public, or its caller may do what it asks for.

    From here on the request sees the rows of the caller's workspace and no others. A public
    endpoint sees none until it has found out, by the token it was given, whose it is.
    """
    # Identity of the function decides, not the path: a path can be written in many ways.
    if request.scope["route"].endpoint in _public:
        return
    given = header if header is not None else bearer.credentials if bearer else None
    if given is None:
        given = given_by(request)
    if given is None:
        raise UnauthorizedError(
            "the API key is missing",
            hint="send 'Authorization: Bearer KEY' or 'X-API-Key: KEY'",
        )
    credentials: Credentials = request.app.state.credentials
    address = request.client.host if request.client is not None else "unknown"
    identity = await credentials.identify(given, address, after)
    tenancy.enter(identity.workspace)
    structlog.contextvars.bind_contextvars(actor=identity.actor, workspace=identity.workspace)
    await authorise(request, identity)
    request.state.identity = identity
