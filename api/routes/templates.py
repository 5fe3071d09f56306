"""/templates: stored emails in Liquid."""

from fastapi import APIRouter

from activities.liquid import check_template
from activities.mail_preview import preview
from api.dependencies import ActorDep, ConfigDep, SessionDep, WorkspaceDep
from api.errors import problems
from api.models.common import SlugPath, VersionPath
from api.models.templates import (
    PreviewInput,
    PreviewView,
    TemplateInput,
    TemplateList,
    TemplateSummary,
    TemplateVersionList,
    TemplateVersionSummary,
    TemplateVersionView,
    TemplateView,
)
from db import leads, templates
from db.audit_hashes import changing_named
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
    name: SlugPath,
    body: TemplateInput,
    session: SessionDep,
    workspace: WorkspaceDep,
    actor: ActorDep,
) -> TemplateView:
    """Create a template or add a version to it; 422 where its Liquid has faults.

    Mails use the newest version from now on; the same content again adds none.
    """
    faults = [
        *check_template(body.subject, path="subject"),
        *check_template(body.text, path="text"),
        *(check_template(body.html, html=True, path="html") if body.html else []),
    ]
    if faults:
        raise InputError(f"the template is not valid: {faults[0].message}", problems=faults)
    async with changing_named(
        session, workspace, templates.Template, name, actor=actor, action="put_template"
    ):
        row = await templates.put(
            session, workspace, name, subject=body.subject, text=body.text, html=body.html
        )
    return TemplateView.model_validate(row.model_dump())


@router.delete("/{name}", status_code=204, responses=problems(404))
async def delete_template(
    name: SlugPath, session: SessionDep, workspace: WorkspaceDep, actor: ActorDep
) -> None:
    """Delete a template with its versions; a step that still names it will fail."""
    async with changing_named(
        session, workspace, templates.Template, name, actor=actor, action="delete_template"
    ):
        await templates.delete(session, workspace, name)


@router.get("/{name}/versions", responses=problems(404))
async def list_template_versions(
    name: SlugPath, session: SessionDep, workspace: WorkspaceDep
) -> TemplateVersionList:
    """All versions of a template, the newest first, without their text."""
    rows = await templates.versions(session, workspace, name)
    return TemplateVersionList(
        items=[TemplateVersionSummary.model_validate(row.model_dump()) for row in rows]
    )


@router.get("/{name}/versions/{version}", responses=problems(404))
async def get_template_version(
    name: SlugPath, version: VersionPath, session: SessionDep, workspace: WorkspaceDep
) -> TemplateVersionView:
    """One version of a template."""
    row = await templates.get_version(session, workspace, name, version)
    return TemplateVersionView.model_validate(row.model_dump())


@router.post("/{name}/versions/{version}/restore", responses=problems(404))
async def restore_template_version(
    name: SlugPath,
    version: VersionPath,
    session: SessionDep,
    workspace: WorkspaceDep,
    actor: ActorDep,
) -> TemplateView:
    """Make an old version the newest again, under a number of its own."""
    about = {"version": version}
    async with changing_named(
        session,
        workspace,
        templates.Template,
        name,
        actor=actor,
        action="restore_template_version",
        data=about,
    ):
        row = await templates.restore(session, workspace, name, version)
    return TemplateView.model_validate(row.model_dump())


@router.post("/{name}/preview", responses=problems(400, 404, 413))
async def preview_template(
    name: SlugPath,
    body: PreviewInput,
    session: SessionDep,
    workspace: WorkspaceDep,
    config: ConfigDep,
) -> PreviewView:
    """What the template would send; 422 where the data lacks what it reads, or a limit is met."""
    stored: templates.Template | templates.TemplateVersion
    if body.version is None:
        stored = await templates.get(session, workspace, name)
    else:
        stored = await templates.get_version(session, workspace, name, body.version)
    lead = None if body.lead is None else await leads.get(session, workspace, body.lead)
    shown = preview(
        subject=stored.subject,
        text=stored.text,
        html=stored.html,
        data=body.data,
        lead=lead,
        booking_url=config.booking_url,
        public_url=config.public_url,
    )
    return PreviewView(subject=shown.subject or "", text=shown.text or "", html=shown.html)
