"""/templates: stored emails in Liquid."""

from fastapi import APIRouter

from activities.liquid import check_template
from api.dependencies import SessionDep, WorkspaceDep
from api.errors import problems
from api.models.common import SlugPath
from api.models.templates import TemplateInput, TemplateList, TemplateSummary, TemplateView
from db import templates
from schemas.errors import InputError

router = APIRouter(tags=["templates"], prefix="/templates")


@router.get("", responses=problems())
async def list_templates(session: SessionDep, workspace: WorkspaceDep) -> TemplateList:
    """All templates, by name, without their text."""
    rows = await templates.list_all(session, workspace)
    return TemplateList(items=[TemplateSummary.model_validate(row.model_dump()) for row in rows])


@router.get("/{name}", responses=problems(404))
async def get_template(
    name: SlugPath, session: SessionDep, workspace: WorkspaceDep
) -> TemplateView:
    """One template."""
    row = await templates.get(session, workspace, name)
    return TemplateView.model_validate(row.model_dump())


@router.put("/{name}", responses=problems(400, 413))
async def put_template(
    name: SlugPath, body: TemplateInput, session: SessionDep, workspace: WorkspaceDep
) -> TemplateView:
    """Create or replace a template; 422 where its Liquid has faults."""
    faults = [
        *check_template(body.subject, path="subject"),
        *check_template(body.text, path="text"),
        *(check_template(body.html, html=True, path="html") if body.html else []),
    ]
    if faults:
        raise InputError(f"the template is not valid: {faults[0].message}", problems=faults)
    row = await templates.put(
        session, workspace, name, subject=body.subject, text=body.text, html=body.html
    )
    return TemplateView.model_validate(row.model_dump())


@router.delete("/{name}", status_code=204, responses=problems(404))
async def delete_template(name: SlugPath, session: SessionDep, workspace: WorkspaceDep) -> None:
    """Delete a template; a step that still names it will fail."""
    await templates.delete(session, workspace, name)
