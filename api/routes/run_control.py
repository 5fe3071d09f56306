"""POST /runs/{id}/pause, resume and cancel."""

from collections.abc import Awaitable, Callable

from fastapi import APIRouter

from api.dependencies import DatabaseDep, GatewayDep, WorkspaceDep
from api.errors import problems
from api.models.common import RunPath
from api.models.runs import RunRef
from db import admission, runs
from db.engine import Database
from schemas.errors import ConflictError, NotFoundError
from schemas.run import RunStatus

router = APIRouter(tags=["runs"], prefix="/runs/{run_id}")


async def steer(
    database: Database, workspace: str, run_id: str, say: Callable[[str], Awaitable[None]]
) -> RunRef:
    """Say something to an open run, by its workflow id; gives the status that it had.

    Raises NotFoundError, ConflictError for a run that has ended or has not reached Temporal yet.
    """
    async with database.session() as session:
        run = await runs.get(session, workspace, run_id)
    if run.status.terminal:
        raise ConflictError(
            f"the run has ended: it is {run.status.value}", hint="start a new run instead"
        )
    try:
        await say(run.workflow_id)
    except NotFoundError as error:
        raise ConflictError(
            "the run has not reached Temporal yet", hint="try again in some seconds"
        ) from error
    return RunRef(id=run.id, status=run.status)


@router.post("/pause", status_code=202, responses=problems(404, 409))
async def pause_run(
    run_id: RunPath, database: DatabaseDep, gateway: GatewayDep, workspace: WorkspaceDep
) -> RunRef:
    """Start nothing new until resumed; what runs goes on, and timers elapse."""
    return await steer(database, workspace, run_id, gateway.pause)


@router.post("/resume", status_code=202, responses=problems(404, 409))
async def resume_run(
    run_id: RunPath, database: DatabaseDep, gateway: GatewayDep, workspace: WorkspaceDep
) -> RunRef:
    """Go on after a pause."""
    return await steer(database, workspace, run_id, gateway.resume)


@router.post("/cancel", status_code=202, responses=problems(404, 409))
async def cancel_run(
    run_id: RunPath, database: DatabaseDep, gateway: GatewayDep, workspace: WorkspaceDep
) -> RunRef:
    """Ask the run to end; what it is doing is cancelled. One that waits in a queue ends at once."""
    async with database.session() as session:
        if await admission.withdraw(session, workspace, run_id):
            return RunRef(id=run_id, status=RunStatus.CANCELLED)
    return await steer(database, workspace, run_id, gateway.cancel)
