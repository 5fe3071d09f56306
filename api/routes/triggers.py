"""/definitions/{name}/triggers: what starts runs of a definition by itself."""

from typing import Annotated

from fastapi import APIRouter, Path, Response
from sqlmodel.ext.asyncio.session import AsyncSession

from api.dependencies import SessionDep, WorkspaceDep
from api.errors import problems
from api.models.common import NamePath, PageDep
from api.models.triggers import VIEWS, TriggerPage, TriggerState, TriggerView
from db import definitions, triggers
from schemas.errors import InputError, NotFoundError
from schemas.trigger_checks import find_trigger_problems
from schemas.triggers import InputTrigger, ScheduledTrigger, TriggerInput

router = APIRouter(tags=["triggers"], prefix="/definitions/{name}/triggers")

TriggerPath = Annotated[str, Path(min_length=1, max_length=64, description="the trigger's id")]


@router.post("", status_code=201, responses=problems(400, 404, 409, 413))
async def create_trigger(
    name: NamePath,
    body: TriggerInput,
    session: SessionDep,
    workspace: WorkspaceDep,
    response: Response,
) -> TriggerView:
    """Add a trigger; from now on it starts runs of the active version."""
    await _check(session, workspace, name, body)
    row = await triggers.add(session, workspace, name, body)
    response.headers["Location"] = f"/api/v1/definitions/{name}/triggers/{row.id}"
    return _view(row)


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
    await _check(session, workspace, name, body)
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


@router.delete("/{trigger_id}", status_code=204, responses=problems(404))
async def delete_trigger(
    name: NamePath, trigger_id: TriggerPath, session: SessionDep, workspace: WorkspaceDep
) -> None:
    """Delete a trigger; the runs that it has started go on."""
    await definitions.get(session, workspace, name)
    await triggers.delete(session, workspace, name, trigger_id)


async def _check(session: AsyncSession, workspace: str, name: str, body: TriggerInput) -> None:
    """Check the expressions, and the input against the active version if there is one."""
    await definitions.get(session, workspace, name)
    if not isinstance(body, InputTrigger):
        return
    try:
        version = await definitions.get_version(session, workspace, name)
    except NotFoundError:
        schema = {"type": "object"}
    else:
        schema = version.document.get("input") or {"type": "object"}
    where = None if isinstance(body, ScheduledTrigger) else body.where
    found = find_trigger_problems(where, body.input, schema, body.SCOPE)
    if found:
        first = found[0]
        raise InputError(
            f"the trigger is not valid at {first.path}: {first.message}",
            hint=first.hint,
            problems=found,
        )


def _view(row: triggers.Trigger) -> TriggerView:
    shown: type[TriggerView] = VIEWS[row.kind]
    state = row.model_dump(include=set(TriggerState.model_fields))
    given = triggers.given_of(row).model_dump()
    extra = row.model_dump(include=set(shown.model_fields) - set(given))
    return shown.model_validate({**given, **extra, **state, "kind": row.kind.value})
