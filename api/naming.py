"""Definitions and the stored access that they name: warned of at publish, kept from deletion."""

from typing import Literal

from sqlmodel.ext.asyncio.session import AsyncSession

from api.publishing import definition_of
from db import connections, secrets
from db.named import published_holding
from schemas.definition import Definition
from schemas.document import parse_document
from schemas.errors import ConflictError, Problem
from schemas.named import named_in
from schemas.rules import Rule, warned

_SHOWN = 5


async def find_missing(
    session: AsyncSession, workspace: str, definition: Definition, source: str
) -> list[Problem]:
    """Warn of each secret and connection that a definition names and that is not stored yet."""
    named = list(named_in(definition))
    if not named:
        return []
    wanted = {one.name for one in named}
    known = {
        "secret": await secrets.known_names(session, workspace, list(wanted)),
        "connection": await connections.known_names(session, workspace, list(wanted)),
    }
    document = parse_document(source)
    found: list[Problem] = []
    for one in named:
        if one.name in known[one.kind]:
            continue
        rule = Rule.UNKNOWN_SECRET if one.kind == "secret" else Rule.UNKNOWN_CONNECTION
        message = f"there is no {one.kind} named {one.name!r} yet"
        hint = f"store it before a run gets there: PUT /api/v1/{one.kind}s/{one.name}"
        problem = warned(rule, one.path, message, hint)
        found.append(problem.model_copy(update={"position": document.position(one.path)}))
    return found


async def refuse_named(
    session: AsyncSession, workspace: str, kind: Literal["secret", "connection"], name: str
) -> None:
    """Raise ConflictError if a published version of a definition names a secret or connection."""
    users = [
        f"{definition} (version {version.version})"
        for definition, version in await published_holding(session, workspace, name)
        if any(one.kind == kind and one.name == name for one in named_in(definition_of(version)))
    ]
    if users:
        more = f" and {len(users) - _SHOWN} more" if len(users) > _SHOWN else ""
        raise ConflictError(
            f"the {kind} {name!r} is named by {', '.join(users[:_SHOWN])}{more}",
            hint="deprecate those versions first, or add ?force=true",
        )
