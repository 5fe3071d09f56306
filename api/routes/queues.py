"""GET /definitions/{name}/queue and /queues: what waits for its turn."""

from fastapi import APIRouter

from api.dependencies import GatewayDep, SessionDep, WorkspaceDep
from api.errors import problems
from api.models.common import NamePath
from api.models.queues import QueueCountsView, QueuesView, QueueView, TaskQueueView
from db import admission, definitions
from db.queue_counts import queue_counts
from schemas.errors import SojournError

router = APIRouter()


@router.get("/definitions/{name}/queue", tags=["definitions"], responses=problems(404))
async def get_queue(name: NamePath, session: SessionDep, workspace: WorkspaceDep) -> QueueView:
    """The starts of a definition that wait, and the runs that hold a slot."""
    await definitions.get(session, workspace, name)
    found = await admission.queue_of(session, workspace, name)
    return QueueView(waiting=found.waiting, active=found.active, oldest=found.oldest)


@router.get("/queues", tags=["analytics"], responses=problems())
async def get_queues(
    session: SessionDep, workspace: WorkspaceDep, gateway: GatewayDep
) -> QueuesView:
    """The runs of each definition by where they are now, and the backlog of the task queue."""
    counts = await queue_counts(session, workspace)
    backlog: list[TaskQueueView] | None
    try:
        backlog = [TaskQueueView.model_validate(each) for each in await gateway.backlogs()]
    except SojournError:
        # Half an answer is of more use than none: `backlog` says that Temporal is away.
        backlog = None
    return QueuesView(
        definitions=[QueueCountsView.model_validate(each) for each in counts],
        task_queue=gateway.task_queue,
        backlog=backlog,
    )
