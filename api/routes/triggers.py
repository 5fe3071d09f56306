"""/definitions/{name}/triggers: what starts runs of a definition by itself."""

import secrets
from typing import Annotated

from fastapi import APIRouter, Path, Response

from api.config import ApiConfig
from api.dependencies import ConfigDep, SessionDep, WorkspaceDep
from api.errors import problems
from api.models.common import NamePath, PageDep
from api.models.triggers import VIEWS, TriggerPage, TriggerState, TriggerView
from api.trigger_rules import check_trigger
from db import definitions, triggers
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
) -> TriggerView:
    """Change a trigger, all but its kind; `enabled: false` rests it."""
    await check_trigger(session, workspace, name, body)
    return _view(await triggers.replace(session, workspace, name, trigger_id, body))


@router.post("/{trigger_id}/enable", responses=problems(404))
async def enable_trigger(
    name: NamePath, trigger_id: TriggerPath, session: SessionDep, workspace: WorkspaceDep
) -> TriggerView:
    """Let a trigger fire again."""
    return _view(await triggers.switch(session, workspace, name, trigger_id, enabled=True))


@router.post("/{trigger_id}/disable", responses=problems(404))
async def disable_trigger(
    name: NamePath, trigger_id: TriggerPath, session: SessionDep, workspace: WorkspaceDep
) -> TriggerView:
    """Rest a trigger: what would have fired it is refused, or passes by."""
    return _view(await triggers.switch(session, workspace, name, trigger_id, enabled=False))


@router.post("/{trigger_id}/rotate", responses=problems(404))
async def rotate_token(
    name: NamePath,
    trigger_id: TriggerPath,
    session: SessionDep,
    workspace: WorkspaceDep,
    config: ConfigDep,
) -> TriggerView:
    """Give a webhook a new token, shown this once; the one before is unknown from now on."""
    row = await triggers.get(session, workspace, name, trigger_id)
    token = new_token()
    await set_token(session, row, token)
    return _view(row, token, config)


@router.delete("/{trigger_id}", status_code=204, responses=problems(404, 409))
async def delete_trigger(
    name: NamePath, trigger_id: TriggerPath, session: SessionDep, workspace: WorkspaceDep
) -> None:
    """Delete a trigger; the runs that it has started go on."""
    await definitions.get(session, workspace, name)
    await triggers.delete(session, workspace, name, trigger_id)


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
