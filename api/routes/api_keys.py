"""/api-keys and /me: keys of the workspace, and who one is."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.authorization import in_scope
from api.dependencies import ActorDep, ConfigDep, IdentityDep, SessionDep, WorkspaceDep
from api.errors import problems
from api.identity import ForbiddenError, Identity
from api.models.access import (
    WORKSPACE_NAME,
    ApiKeyInput,
    ApiKeyList,
    ApiKeyView,
    Caller,
    KeyPath,
    NewApiKey,
    RotateInput,
)
from db import api_keys, audit, audit_hashes, tenancy, workspaces
from db.api_keys import ApiKey
from db.base import now
from schemas.durations import parse_duration
from schemas.errors import InputError
from schemas.roles import Role

router = APIRouter(tags=["access"])


@router.get("/me", responses=problems())
async def whoami(identity: IdentityDep) -> Caller:
    """Who calls: the credential's workspace, role, scopes and grants."""
    return Caller(
        workspace=identity.workspace,
        actor=identity.actor,
        role=identity.role,
        scopes=sorted(identity.scopes),
        grants=dict(identity.grants),
        installation=identity.installation,
    )


@router.get("/api-keys", responses=problems(404))
async def list_api_keys(
    session: SessionDep,
    identity: IdentityDep,
    config: ConfigDep,
    workspace: Annotated[
        str | None, Query(pattern=WORKSPACE_NAME, description="another one's: its operator's")
    ] = None,
) -> ApiKeyList:
    """All keys, the latest first, with those that have ended; never the keys themselves."""
    with tenancy.scope(_scope_of(identity, workspace)):
        where = await _workspace(session, identity, workspace, config.workspace)
        rows = await api_keys.list_all(session, where)
    return ApiKeyList(items=[_view(row) for row in rows])


@router.post("/api-keys", status_code=201, responses=problems(400, 404, 413))
async def create_api_key(
    body: ApiKeyInput, session: SessionDep, identity: IdentityDep, config: ConfigDep
) -> NewApiKey:
    """Make a key; this answer is the only one that holds it."""
    if body.expires_at is not None:
        if body.expires_at.tzinfo is None:
            raise InputError("'expires_at' needs a time zone", path="expires_at")
        if body.expires_at <= now():
            raise InputError("'expires_at' has passed", path="expires_at")
    _refuse_more(identity, body.role, body.scopes, body.grants)
    with tenancy.scope(_scope_of(identity, body.workspace)):
        where = await _workspace(session, identity, body.workspace, config.workspace)
        row, text = api_keys.create(
            session,
            **body.model_dump(exclude={"workspace"}),
            workspace=where,
            created_by=identity.actor,
        )
        data = body.model_dump(mode="json", exclude_defaults=True, exclude={"workspace"})
        await session.flush()
        audit.add(
            session,
            where,
            actor=identity.actor,
            action="api_key.create",
            subject=row.id,
            data={**data, "role": body.role.value},
            after=await audit_hashes.stored(session, ApiKey, {"id": row.id}),
        )
        await session.flush()
    return NewApiKey(**_view(row).model_dump(), key=text)


@router.get("/api-keys/{key_id}", responses=problems(404))
async def get_api_key(key_id: KeyPath, session: SessionDep, workspace: WorkspaceDep) -> ApiKeyView:
    """One key."""
    return _view(await api_keys.get(session, workspace, key_id))


@router.post("/api-keys/{key_id}/rotate", status_code=201, responses=problems(400, 404, 409, 413))
async def rotate_api_key(
    key_id: KeyPath, body: RotateInput, session: SessionDep, identity: IdentityDep
) -> NewApiKey:
    """Make the key that takes over; the old one ends when the overlap is over."""
    overlap = parse_duration(body.overlap)
    old = await api_keys.get(session, identity.workspace, key_id)
    _refuse_more(identity, old.role, old.scopes, {})
    about = {"overlap": body.overlap}
    async with audit_hashes.changing(
        session,
        identity.workspace,
        ApiKey,
        {"id": key_id, "workspace": identity.workspace},
        actor=identity.actor,
        action="api_key.rotate",
        subject=key_id,
        data=about,
    ):
        row, text = await api_keys.rotate(
            session, identity.workspace, key_id, overlap=overlap, actor=identity.actor
        )
        about["to"] = row.id
    audit.add(
        session,
        identity.workspace,
        actor=identity.actor,
        action="api_key.create",
        subject=row.id,
        data={"from": key_id, "role": row.role.value},
        after=await audit_hashes.stored(session, ApiKey, {"id": row.id}),
    )
    await session.flush()
    return NewApiKey(**_view(row).model_dump(), key=text)


@router.delete("/api-keys/{key_id}", status_code=204, responses=problems(404))
async def revoke_api_key(
    key_id: KeyPath, session: SessionDep, workspace: WorkspaceDep, actor: ActorDep
) -> None:
    """End a key; it passes nowhere after five seconds. Its row stays, for the audit."""
    key = {"id": key_id, "workspace": workspace}
    async with audit_hashes.changing(
        session, workspace, ApiKey, key, actor=actor, action="api_key.revoke", subject=key_id
    ):
        await api_keys.revoke(session, workspace, key_id)


def _scope_of(identity: Identity, workspace: str | None) -> str:
    """Give whose rows are touched; raises ForbiddenError for another workspace's."""
    if workspace is None or workspace == identity.workspace:
        return identity.workspace
    if not identity.installation:
        raise ForbiddenError("keys of other workspaces are for the installation's operator")
    return workspace


async def _workspace(session: SessionDep, identity: Identity, given: str | None, home: str) -> str:
    """Name the workspace meant; raises NotFoundError where there is none."""
    if given is None or given in (identity.workspace, home):
        return given or identity.workspace
    return (await workspaces.get(session, given)).workspace


def _refuse_more(
    identity: Identity, role: Role, scopes: list[str], grants: dict[str, Role]
) -> None:
    """Raise ForbiddenError where a key could do what its maker cannot."""
    for wanted in (role, *grants.values()):
        if not identity.role.at_least(wanted):
            raise ForbiddenError(f"a key of role {wanted.value!r} is more than yours")
    if identity.scopes:
        more = [scope for scope in scopes if not in_scope(identity.scopes, scope)]
        if more or not scopes:
            raise ForbiddenError(
                "the key could do more than yours", hint=f"its scopes: {sorted(identity.scopes)}"
            )


def _view(row: ApiKey) -> ApiKeyView:
    return ApiKeyView.model_validate({**row.model_dump(), "prefix": row.prefix})
