"""Whether a caller may do what a request asks for: role, grants on its definition, scopes."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from fastapi import Request
from fastapi.routing import APIRoute

from api.config import ApiConfig
from api.identity import ForbiddenError, Identity
from api.permissions import ELSEWHERE, HOME_ONLY, INSTALLATION_ONLY, PERMISSIONS, UNSCOPED
from db import runs
from db.engine import Database
from schemas.errors import NotFoundError
from schemas.roles import Role


class Rule(NamedTuple):
    """What an operation asks of its caller; `by` is the path parameter that tells a definition."""

    operation: str
    least: Role | None
    scope: str
    by: str | None


@lru_cache(maxsize=1000)
def _rule(endpoint: Callable[..., Any], path: str, tag: str, methods: frozenset[str]) -> Rule:
    operation = endpoint.__name__
    reads = methods <= {"GET", "HEAD"}
    by = "name" if "/definitions/{name}" in path else "run_id" if "{run_id}" in path else None
    scope = f"{tag.replace(' ', '-')}:{'read' if reads else 'write'}"
    return Rule(operation, PERMISSIONS.get(operation), scope, by)


def rule_of(route: APIRoute) -> Rule:
    """Give the rule of a route."""
    tag = str(route.tags[0]) if route.tags else "none"
    return _rule(route.endpoint, route.path, tag, frozenset(route.methods or ()))


async def authorise(request: Request, identity: Identity) -> None:
    """Return if the caller may; raises ForbiddenError.

    Whether the run named in the address exists makes no difference to those who may not see it.
    """
    rule = rule_of(request.scope["route"])
    config: ApiConfig = request.app.state.config
    if rule.least is None:
        raise ForbiddenError(f"{rule.operation!r} is open to nobody")
    if rule.operation in INSTALLATION_ONLY and not identity.installation:
        raise ForbiddenError("this is for the operator of the installation")
    if rule.operation in HOME_ONLY and identity.workspace != config.workspace:
        raise ForbiddenError("this is for the installation's own workspace")
    least = least_of(rule.operation, identity, config)
    if not identity.role.at_least(least):
        definition = await _definition(request, identity, rule.by) if identity.grants else None
        if not identity.role_for(definition).at_least(least):
            raise ForbiddenError(
                f"this needs the role {least.value!r}, yours is {identity.role.value!r}"
            )
    if rule.operation not in UNSCOPED and not in_scope(identity.scopes, rule.scope):
        raise ForbiddenError(f"the key's scopes do not hold {rule.scope!r}")


def least_of(operation: str, identity: Identity, config: ApiConfig) -> Role:
    """Give the least role that an operation, which must have one, asks of a caller."""
    if identity.workspace != config.workspace and operation in ELSEWHERE:
        return ELSEWHERE[operation]
    return PERMISSIONS[operation]


def in_scope(scopes: frozenset[str], wanted: str) -> bool:
    """Whether scopes allow one: none at all allow every one, `runs:write` allows `runs:read`."""
    if not scopes or wanted in scopes:
        return True
    resource, _, verb = wanted.partition(":")
    return verb == "read" and f"{resource}:write" in scopes


async def _definition(request: Request, identity: Identity, by: str | None) -> str | None:
    """Name the definition that a request is about, None where it is about none."""
    if by is None:
        return None
    given = request.path_params[by]
    if by == "name":
        return given
    database: Database = request.app.state.database
    try:
        async with database.session() as session:
            return (await runs.get(session, identity.workspace, given)).definition
    except NotFoundError:
        return None
