"""/forms: what visitors fill in, and which definition it starts."""

from typing import Any

from fastapi import APIRouter

from api.dependencies import ActorDep, SessionDep, WorkspaceDep
from api.errors import problems
from api.form_rules import check_fields
from api.models.common import SlugPath
from api.models.forms import FormInput, FormList, FormView
from db import definitions, forms, trigger_gates
from db.audit_hashes import changing_named

router = APIRouter(tags=["forms"], prefix="/forms")


@router.get("", responses=problems())
async def list_forms(session: SessionDep, workspace: WorkspaceDep) -> FormList:
    """All forms, by name."""
    rows = await forms.list_all(session, workspace)
    return FormList(items=[FormView.model_validate(_view(row)) for row in rows])


@router.get("/{name}", responses=problems(404))
async def get_form(name: SlugPath, session: SessionDep, workspace: WorkspaceDep) -> FormView:
    """One form."""
    return FormView.model_validate(_view(await forms.get(session, workspace, name)))


@router.put("/{name}", responses=problems(400, 404, 413))
async def put_form(
    name: SlugPath, body: FormInput, session: SessionDep, workspace: WorkspaceDep, actor: ActorDep
) -> FormView:
    """Create or replace a form; its definition must exist."""
    check_fields(body.fields)
    await definitions.get(session, workspace, body.definition)
    async with changing_named(session, workspace, forms.Form, name, actor=actor, action="put_form"):
        row = await forms.put(
            session,
            workspace,
            name,
            definition=body.definition,
            title=body.title,
            fields=body.fields,
            mapping=body.mapping.model_dump(),
        )
    await trigger_gates.link_form(session, workspace, name, body.definition)
    return FormView.model_validate(_view(row))


@router.delete("/{name}", status_code=204, responses=problems(404))
async def delete_form(
    name: SlugPath, session: SessionDep, workspace: WorkspaceDep, actor: ActorDep
) -> None:
    """Delete a form; what was submitted through it stays."""
    async with changing_named(
        session, workspace, forms.Form, name, actor=actor, action="delete_form"
    ):
        await forms.delete(session, workspace, name)
    await trigger_gates.unlink_form(session, workspace, name)


def _view(row: forms.Form) -> dict[str, Any]:
    return row.model_dump(include=set(FormView.model_fields))
