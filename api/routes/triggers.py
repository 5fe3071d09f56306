"""/definitions/{name}/triggers: what starts runs of a definition by itself."""

import secrets
from contextlib import AbstractAsyncContextManager
from typing import Annotated

from fastapi import APIRouter, Path, Response
from sqlmodel.ext.asyncio.session import AsyncSession

from api.config import ApiConfig
from api.dependencies import ActorDep, ConfigDep, SessionDep, WorkspaceDep
from api.errors import problems
from api.models.common import NamePath, PageDep
from api.models.triggers import VIEWS, TriggerPage, TriggerState, TriggerView
from api.trigger_rules import check_trigger
from db import audit, audit_hashes, definitions, triggers
from db.trigger_table import Trigger
from db.webhooks import hash_token, set_token
from schemas.triggers import TriggerInput, WebhookTrigger

router = APIRouter(tags=["triggers"], prefix="/definitions/{name}/triggers")

TriggerPath = Annotated[str, Path(min_length=1, max_length=64, description="the trigger's id")]


@router.post("", status_code=201, responses=problems(400, 404, 409, 413))
async def create_trigger(
    name: NamePath,
    body: TriggerInput,
    session: SessionDep,
    workspace: WorkspaceDep,
    config: ConfigDep,
    actor: ActorDep,
    response: Response,
) -> TriggerView:
    """Add a trigger; from now on it starts runs of the active version.

    The answer for a webhook holds its token, which is shown this once.
    """
    await check_trigger(session, workspace, name, body)
    token = new_token() if isinstance(body, WebhookTrigger) else None
    row = await triggers.add(
        session, workspace, name, body, token_hash=hash_token(token) if token else None
    )
    await note_trigger(session, row, actor=actor)
    response.headers["Location"] = f"/api/v1/definitions/{name}/triggers/{row.id}"
    return _view(row, token, config)


@router.get("", responses=problems(404))
async def list_triggers(
    name: NamePath, session: SessionDep, workspace: WorkspaceDep, page: PageDep
) -> TriggerPage:
    """The triggers of a definition, newest first."""
    found = await triggers.list_page(session, workspace, name, cursor=page.cursor, limit=page.limit)
    return TriggerPage(items=[_view(row) for row in found.items], next_cursor=found.next_cursor)


@router.get("/{trigger_id}", responses=problems(404))
async def get_trigger(
    name: NamePath, trigger_id: TriggerPath, session: SessionDep, workspace: WorkspaceDep
) -> TriggerView:
    """One trigger."""
    await definitions.get(session, workspace, name)
    return _view(await triggers.get(session, workspace, name, trigger_id))


@router.put("/{trigger_id}", responses=problems(400, 404, 409, 413))
async def replace_trigger(
    name: NamePath,
    trigger_id: TriggerPath,
    body: TriggerInput,
    session: SessionDep,
    workspace: WorkspaceDep,
    actor: ActorDep,
) -> TriggerView:
    """Change a trigger, all but its kind; `enabled: false` rests it."""
    await check_trigger(session, workspace, name, body)
    async with changing_trigger(session, workspace, name, trigger_id, actor, "replace_trigger"):
        row = await triggers.replace(session, workspace, name, trigger_id, body)
    return _view(row)


@router.post("/{trigger_id}/enable", responses=problems(404))
async def enable_trigger(
    name: NamePath,
    trigger_id: TriggerPath,
    session: SessionDep,
    workspace: WorkspaceDep,
    actor: ActorDep,
) -> TriggerView:
    """Let a trigger fire again."""
    async with changing_trigger(session, workspace, name, trigger_id, actor, "enable_trigger"):
        row = await triggers.switch(session, workspace, name, trigger_id, enabled=True)
    return _view(row)


@router.post("/{trigger_id}/disable", responses=problems(404))
async def disable_trigger(
    name: NamePath,
    trigger_id: TriggerPath,
    session: SessionDep,
    workspace: WorkspaceDep,
    actor: ActorDep,
) -> TriggerView:
    """Rest a trigger: what would have fired it is refused, or passes by."""
    async with changing_trigger(session, workspace, name, trigger_id, actor, "disable_trigger"):
        row = await triggers.switch(session, workspace, name, trigger_id, enabled=False)
    return _view(row)


@router.post("/{trigger_id}/rotate", responses=problems(404))
async def rotate_token(
    name: NamePath,
    trigger_id: TriggerPath,
    session: SessionDep,
    workspace: WorkspaceDep,
    config: ConfigDep,
    actor: ActorDep,
) -> TriggerView:
    """Give a webhook a new token, shown this once; the one before is unknown from now on."""
    row = await triggers.get(session, workspace, name, trigger_id)
    token = new_token()
    async with changing_trigger(session, workspace, name, trigger_id, actor, "rotate_token"):
        await set_token(session, row, token)
    return _view(row, token, config)


@router.delete("/{trigger_id}", status_code=204, responses=problems(404, 409))
async def delete_trigger(
    name: NamePath,
    trigger_id: TriggerPath,
    session: SessionDep,
    workspace: WorkspaceDep,
    actor: ActorDep,
) -> None:
    """Delete a trigger; the runs that it has started go on."""
    await definitions.get(session, workspace, name)
    async with changing_trigger(session, workspace, name, trigger_id, actor, "delete_trigger"):
        await triggers.delete(session, workspace, name, trigger_id)


async def note_trigger(session: AsyncSession, row: Trigger, *, actor: str) -> None:
    """Add an audit entry for a trigger that was made just now."""
    audit.add(
        session,
        row.workspace,
        actor=actor,
        action="create_trigger",
        subject=f"{row.definition}/{row.id}",
        after=await audit_hashes.stored(session, Trigger, {"id": row.id}),
    )


def changing_trigger(
    session: AsyncSession,
    workspace: str,
    definition: str,
    trigger_id: str,
    actor: str,
    action: str,
) -> AbstractAsyncContextManager[None]:
    """Add an audit entry for what the block does to a trigger."""
    return audit_hashes.changing(
        session,
        workspace,
        Trigger,
        {"workspace": workspace, "definition": definition, "id": trigger_id},
        actor=actor,
        action=action,
        subject=f"{definition}/{trigger_id}",
    )


def new_token() -> str:
    """Make a webhook's token: 256 random bits."""
    return secrets.token_urlsafe(32)


def _view(
    row: triggers.Trigger, token: str | None = None, config: ApiConfig | None = None
) -> TriggerView:
    shown: type[TriggerView] = VIEWS[row.kind]
    state = row.model_dump(include=set(TriggerState.model_fields))
    given = triggers.given_of(row).model_dump()
    extra = row.model_dump(include=set(shown.model_fields) - set(given))
    made = {}
    if token is not None:
        base = (config.public_url if config else None) or ""
        made = {"token": token, "url": f"{base.rstrip('/')}/api/v1/hooks/{token}"}
    return shown.model_validate({**given, **extra, **state, **made, "kind": row.kind.value})
