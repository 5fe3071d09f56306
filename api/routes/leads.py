"""/leads: people that runs are about, and what they did."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.dependencies import SessionDep, WorkspaceDep
from api.errors import problems
from api.models.common import LeadPath, PageDep
from api.models.leads import (
    LeadEventAnswer,
    LeadEventInput,
    LeadEventPage,
    LeadEventView,
    LeadPage,
    LeadPatch,
    LeadView,
)
from db import leads
from db.base import now
from schemas.errors import InputError

router = APIRouter(tags=["leads"], prefix="/leads")


@router.get("", responses=problems())
async def list_leads(
    session: SessionDep,
    workspace: WorkspaceDep,
    page: PageDep,
    status: Annotated[str | None, Query(max_length=64)] = None,
    email: Annotated[str | None, Query(max_length=254, description="one address, exactly")] = None,
) -> LeadPage:
    """Leads, newest first."""
    if email is not None:
        lead = await leads.find_by_email(session, workspace, email)
        return LeadPage(items=[_view(lead)] if lead and status in (None, lead.status) else [])
    found = await leads.list_page(
        session, workspace, status=status, cursor=page.cursor, limit=page.limit
    )
    return LeadPage(items=[_view(row) for row in found.items], next_cursor=found.next_cursor)


@router.get("/{lead_id}", responses=problems(404))
async def get_lead(lead_id: LeadPath, session: SessionDep, workspace: WorkspaceDep) -> LeadView:
    """One lead."""
    return _view(await leads.get(session, workspace, lead_id))


@router.patch("/{lead_id}", responses=problems(400, 404, 413))
async def update_lead(
    lead_id: LeadPath, body: LeadPatch, session: SessionDep, workspace: WorkspaceDep
) -> LeadView:
    """Change what is given; a changed status is kept as an event of the lead."""
    lead = await leads.set_status_and_fields(
        session, workspace, lead_id, status=body.status, fields=body.fields
    )
    if body.name is not None or body.company is not None:
        lead = await leads.upsert(
            session, workspace, lead.email, name=body.name, company=body.company
        )
    return _view(lead)


@router.get("/{lead_id}/events", responses=problems(404))
async def list_lead_events(
    lead_id: LeadPath, session: SessionDep, workspace: WorkspaceDep, page: PageDep
) -> LeadEventPage:
    """What happened to a lead, the last stored first."""
    await leads.get(session, workspace, lead_id)
    found = await leads.events(session, workspace, lead_id, cursor=page.cursor, limit=page.limit)
    views = [
        LeadEventView.model_validate(row.model_dump(include=set(LeadEventView.model_fields)))
        for row in found.items
    ]
    return LeadEventPage(items=views, next_cursor=found.next_cursor)


@router.post(
    "/{lead_id}/events",
    status_code=201,
    responses={
        200: {"model": LeadEventAnswer, "description": "An event with this key is there already"},
        **problems(400, 404, 413),
    },
)
async def add_lead_event(
    lead_id: LeadPath,
    body: LeadEventInput,
    session: SessionDep,
    workspace: WorkspaceDep,
    response: Response,
) -> LeadEventAnswer:
    """Tell that a lead replied, booked, opened a mail, …; the named checks of conditions see it."""
    if body.at is not None and body.at.tzinfo is None:
        raise InputError("'at' needs a time zone", hint="2026-01-31T12:00:00Z")
    recorded = await leads.add_event(
        session,
        workspace,
        lead_id,
        body.kind,
        at=body.at or now(),
        data=body.data,
        run_id=body.run_id,
        key=body.key,
    )
    if not recorded:
        response.status_code = 200
    return LeadEventAnswer(recorded=recorded)


def _view(row: leads.Lead) -> LeadView:
    return LeadView.model_validate(row.model_dump(include=set(LeadView.model_fields)))
