"""Storing connections: what is given is checked together with what is kept."""

from sqlmodel.ext.asyncio.session import AsyncSession

from db import connections
from db.audit_hashes import changing_named
from db.connections import Connection
from schemas.connections import AnyConnection, given_secrets, shown_config
from schemas.errors import ErrorCode, InputError, Problem
from schemas.keyring import KeyRing


async def store(
    session: AsyncSession,
    workspace: str,
    name: str,
    given: AnyConnection,
    keyring: KeyRing,
    *,
    actor: str,
) -> Connection:
    """Create or replace a connection; without secrets those of the same kind that are there stay.

    Raises InputError where a secret is missing that the configuration needs, SealError where the
    stored ones cannot be opened.
    """
    before = await connections.find(session, workspace, name)
    secrets = given_secrets(given)
    if secrets is None:
        kept = before is not None and before.kind == given.kind
        secrets = connections.open_secrets(before, keyring) if before and kept else {}
    missing = sorted(given.config.required_secrets() - secrets.keys())
    if missing:
        problems = [
            Problem(
                code=ErrorCode.INVALID_INPUT,
                path=f"body.secrets.{field}",
                message=f"a connection of kind {given.kind} needs it with this configuration",
            )
            for field in missing
        ]
        raise InputError(f"secrets are missing: {', '.join(missing)}", problems=problems)
    async with changing_named(
        session,
        workspace,
        Connection,
        name,
        actor=actor,
        action="connection.put",
        data={"kind": given.kind, "secrets_given": sorted(given_secrets(given) or ())},
    ):
        return await connections.put(
            session,
            workspace,
            name,
            kind=given.kind,
            config=shown_config(given),
            secrets=secrets,
            keyring=keyring,
        )
