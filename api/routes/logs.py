"""GET /runs/{id}/logs: what actions, programs and operators wrote down about a run."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.dependencies import SessionDep, WorkspaceDep
from api.errors import problems
from api.models.common import RunPath
from api.models.logs import LogLine, LogPage
from db import run_logs, runs
from db.run_logs import MAX_PAGE, LogLevel

router = APIRouter(tags=["runs"])


@router.get("/runs/{run_id}/logs", responses=problems(404))
async def get_run_logs(
    run_id: RunPath,
    session: SessionDep,
    workspace: WorkspaceDep,
    level: Annotated[LogLevel | None, Query(description="of this level and graver")] = None,
    q: Annotated[
        str | None, Query(max_length=200, description="inside the message, in whatever case")
    ] = None,
    step: Annotated[
        str | None, Query(max_length=1200, description="the step's path, or its id")
    ] = None,
    after: Annotated[int, Query(ge=0, le=2**63 - 1, description="`next` of the page before")] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="lines on a page")] = 200,
) -> LogPage:
    """The lines of a run's log, the oldest first; ask again with `next` to follow it."""
    await runs.get(session, workspace, run_id)
    rows = await run_logs.page(
        session,
        workspace,
        run_id,
        after=after,
        level=level,
        text=q,
        step=step,
        limit=limit + 1,
    )
    shown = rows[:limit]
    items = [
        LogLine.model_validate({**row.model_dump(exclude={"data"}), "metadata": row.data or {}})
        for row in shown
    ]
    last = items[-1].id if items else after
    return LogPage(items=items, next=last, more=len(rows) > limit)
