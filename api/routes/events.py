"""/events: what happened outside, for the runs that wait for it and the triggers that it fires."""

from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Query, Request

from api.correlation import request_id
from api.dependencies import DatabaseDep, SessionDep, WorkspaceDep
from api.errors import problems
from api.event_body import EVENT_BODY, EventDep
from api.models.common import PageDep
from api.models.events import EventAnswer, EventPage, EventView
from api.outbox import Outbox
from api.routes.runs import StarterDep
from db import events
from schemas.events import EventKey
from schemas.step_base import EventType

router = APIRouter(tags=["events"], prefix="/events")


@router.post("", status_code=202, responses=problems(413), openapi_extra=EVENT_BODY)
async def publish_event(
    request: Request,
    event: EventDep,
    database: DatabaseDep,
    workspace: WorkspaceDep,
    starter: StarterDep,
    after: BackgroundTasks,
) -> EventAnswer:
    """Publish an event; once this is answered it reaches every run that it is for."""
    # Events of one type and key wait for each other, each with a connection: a flood of them must
    # leave some to those who steer their runs.
    async with request.app.state.publishing, database.session() as session:
        published = await events.publish(session, workspace, event, correlation_id=request_id())
    after.add_task(Outbox(starter).forward, published)
    return EventAnswer(
        id=published.id,
        matched=published.matched,
        started=published.started,
        duplicate=published.duplicate,
    )


@router.get("", responses=problems())
async def list_events(
    session: SessionDep,
    workspace: WorkspaceDep,
    page: PageDep,
    kind: Annotated[EventType | None, Query(alias="type")] = None,
    key: Annotated[EventKey | None, Query()] = None,
) -> EventPage:
    """Stored events, the last received first."""
    found = await events.list_page(
        session, workspace, kind=kind, key=key, cursor=page.cursor, limit=page.limit
    )
    views = [
        EventView.model_validate(row.model_dump(include=set(EventView.model_fields)))
        for row in found.items
    ]
    return EventPage(items=views, next_cursor=found.next_cursor)
