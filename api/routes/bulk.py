"""/bulk: one action on many runs or dead letters, as a job with progress."""

from typing import Annotated

import structlog
from fastapi import APIRouter, BackgroundTasks, Depends, Path, Query, Response

from api.bulk_jobs import BulkDesk
from api.dependencies import (
    ActorDep,
    CatalogueDep,
    DatabaseDep,
    GatewayDep,
    SessionDep,
    WorkspaceDep,
)
from api.errors import problems
from api.models.bulk import (
    BulkItemPage,
    BulkItemView,
    BulkJobPage,
    BulkJobView,
    BulkOrder,
    BulkPreview,
)
from api.models.common import PageDep
from db import bulk
from db.bulk_tables import BulkJob, ItemState
from schemas.errors import SojournError

router = APIRouter(tags=["bulk"], prefix="/bulk")
_log = structlog.get_logger(__name__)

JobPath = Annotated[str, Path(min_length=1, max_length=64, description="the job's id")]
PREVIEW_OR_JOB = {
    200: {"model": BulkPreview, "description": "What would happen; nothing was done"},
    202: {"model": BulkJobView, "description": "The job, which runs from now on"},
}


async def get_desk(
    database: DatabaseDep, gateway: GatewayDep, catalogue: CatalogueDep, workspace: WorkspaceDep
) -> BulkDesk:
    """What takes orders for bulk jobs."""
    return BulkDesk(database, gateway, catalogue, workspace)


DeskDep = Annotated[BulkDesk, Depends(get_desk)]


def job_view(job: BulkJob) -> BulkJobView:
    """A job as the API shows it."""
    return BulkJobView.model_validate(job.model_dump(include=set(BulkJobView.model_fields)))


async def take(
    order: BulkOrder, desk: BulkDesk, actor: str, response: Response, after: BackgroundTasks
) -> BulkPreview | BulkJobView:
    """Preview an order, or store its job and start it after the answer."""
    if order.preview:
        response.status_code = 200
        return await desk.preview(order)
    job = await desk.order(order, actor=actor)

    async def start() -> None:
        try:
            await desk.start(job)
        except SojournError as error:
            _log.warning("bulk_start_later", job_id=job.id, code=error.code)

    after.add_task(start)
    response.headers["Location"] = f"/api/v1/bulk/{job.id}"
    return job_view(job)


@router.post(
    "",
    status_code=202,
    response_model=None,
    responses={**PREVIEW_OR_JOB, **problems(400, 404, 409, 413)},
)
async def order_bulk(
    body: BulkOrder, desk: DeskDep, actor: ActorDep, response: Response, after: BackgroundTasks
) -> BulkPreview | BulkJobView:
    """Pause, resume, cancel, retry or migrate many runs, or re-drive many dead letters."""
    return await take(body, desk, actor, response, after)


@router.get("", responses=problems())
async def list_bulk_jobs(
    session: SessionDep, workspace: WorkspaceDep, page: PageDep
) -> BulkJobPage:
    """Bulk jobs, newest first."""
    found = await bulk.list_page(session, workspace, cursor=page.cursor, limit=page.limit)
    return BulkJobPage(items=[job_view(job) for job in found.items], next_cursor=found.next_cursor)


@router.get("/{job_id}", responses=problems(404))
async def get_bulk_job(
    job_id: JobPath, session: SessionDep, workspace: WorkspaceDep
) -> BulkJobView:
    """One bulk job and how far it is."""
    return job_view(await bulk.get(session, workspace, job_id))


@router.get("/{job_id}/items", responses=problems(404))
async def list_bulk_items(
    job_id: JobPath,
    session: SessionDep,
    workspace: WorkspaceDep,
    page: PageDep,
    state: Annotated[ItemState | None, Query()] = None,
) -> BulkItemPage:
    """What became of each item of a bulk job."""
    await bulk.get(session, workspace, job_id)
    rows, cursor = await bulk.items(
        session, job_id, state=state, cursor=page.cursor, limit=page.limit
    )
    items = [
        BulkItemView(id=row.subject_id, **row.model_dump(exclude={"job_id", "subject_id"}))
        for row in rows
    ]
    return BulkItemPage(items=items, next_cursor=cursor)


@router.post("/{job_id}/cancel", responses=problems(404, 409))
async def cancel_bulk_job(
    job_id: JobPath, session: SessionDep, workspace: WorkspaceDep, actor: ActorDep
) -> BulkJobView:
    """End a bulk job: what has not had its turn is skipped."""
    return job_view(await bulk.cancel(session, workspace, job_id, actor=actor))
