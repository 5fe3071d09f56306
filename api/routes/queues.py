"""GET /definitions/{name}/queue: what waits for its turn."""

from fastapi import APIRouter

from api.dependencies import SessionDep, WorkspaceDep
from api.errors import problems
from api.models.common import NamePath
from api.models.queues import QueueView
from db import admission, definitions

router = APIRouter(tags=["definitions"])


@router.get("/definitions/{name}/queue", responses=problems(404))
async def get_queue(name: NamePath, session: SessionDep, workspace: WorkspaceDep) -> QueueView:
    """The starts of a definition that wait, and the runs that hold a slot."""
    await definitions.get(session, workspace, name)
    found = await admission.queue_of(session, workspace, name)
    return QueueView(waiting=found.waiting, active=found.active, oldest=found.oldest)
