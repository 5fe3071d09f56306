"""Users: which workspace and role the claims of a token, or the members' table, give them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from api.identity import ForbiddenError, Identity
from api.tokens import OidcConfig
from db import members, tenancy, workspaces
from db.engine import Database
from db.members import Member
from schemas.roles import Role


async def user_of(
    claims: Mapping[str, Any], config: OidcConfig, database: Database, home: str
) -> Identity:
    """Give the caller that a token's claims tell of; raises ForbiddenError for nobody's member.

    The token's own role counts, if it names workspace and role; else the members' table.
    """
    subject: str = claims["sub"]
    named = claims.get(config.workspace_claim)
    role = _role(claims.get(config.role_claim))
    with tenancy.system():
        async with database.session() as session:
            own = await members.of_subject(session, subject)
            known = await workspaces.names(session, home)
    if named is None:
        if len(own) != 1:
            raise ForbiddenError(
                "the user is a member of no workspace"
                if not own
                else "the user is a member of several workspaces, and the token names none",
                hint=f"the claim {config.workspace_claim!r} names one",
            )
        named = own[0].workspace
    if named not in known:
        raise ForbiddenError("the token's workspace does not exist")
    member = next((each for each in own if each.workspace == named), None)
    if role is None and member is None:
        raise ForbiddenError("the user is no member of the workspace")
    return Identity(
        named,
        f"user:{subject}",
        role or (member.role if member is not None else Role.VIEWER),
        grants=_grants(member),
    )


def _grants(member: Member | None) -> Mapping[str, Role]:
    given = {} if member is None else member.grants
    return MappingProxyType({name: Role(role) for name, role in given.items()})


def _role(claim: Any) -> Role | None:
    """Give the greatest role that a claim, a text or a list of them, names."""
    given = claim if isinstance(claim, list) else [claim]
    found = [Role(each) for each in given if isinstance(each, str) and each in set(Role)]
    return max(found, key=lambda role: role.rank, default=None)
