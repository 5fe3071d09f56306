"""Audit entries of definitions and their versions, which change together.

A version is the target `name/version`. What a change of it does to the definition (which version is
active, which is the latest, the title) is an entry of its own, about the target `name`.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from sqlmodel.ext.asyncio.session import AsyncSession

from db import audit, audit_hashes, definitions
from db.definitions import Definition, Version, VersionStatus

UPDATE = "definition.update"


def changing_definition(
    session: AsyncSession,
    workspace: str,
    name: str,
    *,
    actor: str,
    action: str = UPDATE,
    data: dict[str, Any] | None = None,
    many: bool = False,
) -> AbstractAsyncContextManager[None]:
    """Add an entry for what the block does to a definition."""
    return audit_hashes.changing_named(
        session,
        workspace,
        Definition,
        name,
        actor=actor,
        action=action,
        data=data,
        many=many,
        only_if_changed=action == UPDATE,
    )


async def note_version(
    session: AsyncSession, workspace: str, name: str, version: Version, *, actor: str
) -> None:
    """Add an entry for a version that was made just now."""
    audit.add(
        session,
        workspace,
        actor=actor,
        action="version.create",
        subject=f"{name}/{version.version}",
        data={"published": version.status is VersionStatus.PUBLISHED},
        after=await audit_hashes.stored(session, Version, _key(version)),
    )


@asynccontextmanager
async def changing_version(
    session: AsyncSession, workspace: str, name: str, version: int, *, actor: str, action: str
) -> AsyncIterator[None]:
    """Add entries for what the block does to a version and its definition."""
    definition = await definitions.get(session, workspace, name)
    async with (
        changing_definition(session, workspace, name, actor=actor),
        audit_hashes.changing(
            session,
            workspace,
            Version,
            {"definition_id": definition.id, "version": version},
            actor=actor,
            action=action,
            subject=f"{name}/{version}",
        ),
    ):
        yield


def _key(version: Version) -> dict[str, Any]:
    return {"definition_id": version.definition_id, "version": version.version}
