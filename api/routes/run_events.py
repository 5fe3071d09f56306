"""GET /runs/{id}/events: a run's events as server-sent events, live, from Temporal's history."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Header
from fastapi.sse import EventSourceResponse, ServerSentEvent

from api.dependencies import DatabaseDep, GatewayDep, WorkspaceDep
from api.errors import problems
from api.models.common import RunPath
from db import runs
from schemas.errors import SojournError, UnavailableError
from workflows.events import RunEvent

RECONNECT_MS = 2000
router = APIRouter(tags=["runs"])
_log = structlog.get_logger(__name__)

LastEventId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        max_length=64,
        description="resume after this event; sent by browsers when they reconnect",
    ),
]


async def follow_run(
    run_id: RunPath,
    database: DatabaseDep,
    gateway: GatewayDep,
    workspace: WorkspaceDep,
    last_event_id: LastEventId = None,
) -> AsyncIterator[RunEvent]:
    """Find the run and open its events, so that a fault is a problem and not a broken stream.

    The transaction ends here: a stream may last for days and must not hold a connection.
    """
    async with database.session() as session:
        run = await runs.get(session, workspace, run_id)
    first = run.temporal_run_id
    if first is None:
        execution = await gateway.describe(run.workflow_id)
        if execution is None:
            raise UnavailableError("the run has not reached Temporal yet", retry_after=2)
        first = execution.first_run_id
    return gateway.events(run.workflow_id, first, last_event_id)


@router.get(
    "/runs/{run_id}/events",
    response_class=EventSourceResponse,
    responses={
        200: {
            "description": "Events until the run closes; `event` is the type, `data` is JSON",
            "content": {
                "text/event-stream": {
                    "example": 'event: step_completed\ndata: {"at": "…", "step": "x"}\nid: 0.7.0\n'
                }
            },
        },
        **problems(404),
    },
)
async def stream_run_events(
    events: Annotated[AsyncIterator[RunEvent], Depends(follow_run)],
) -> AsyncIterator[ServerSentEvent]:
    """Follow a run: run_started, step_started, step_completed, step_failed and so on.

    `Last-Event-ID` resumes where a stream broke. The stream ends when the run has closed.

    Events come in the order of Temporal's history. Actions are told at once. What the interpreter
    does by itself (`set`, the end of a `delay` or `wait`) is told with the next write of the run's
    row: when the run begins to wait, after 50 such steps, and at its end; so a `set` before an
    action may be told after it, and `at` is when it was told. `GET /runs/{id}/steps` has the order
    and the times of the steps.
    """
    yield ServerSentEvent(comment="events of the run", retry=RECONNECT_MS)
    try:
        async for event in events:
            data: dict[str, Any] = {"at": event.at, **event.data}
            yield ServerSentEvent(data=data, event=event.type, id=event.id)
    except SojournError as error:
        # The status line is long sent; the client reconnects with the id of the last event.
        _log.warning("event_stream_broken", code=error.code, error=error.message)
        yield ServerSentEvent(comment=f"interrupted: {error.code}")
