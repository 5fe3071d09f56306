"""POST /runs/{id}/signals/{name}: what `wait` steps wait for."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from api.dependencies import ActorDep, DatabaseDep, GatewayDep, WorkspaceDep
from api.errors import problem_response, problems
from api.models.common import RunPath
from api.models.runs import RunRef, SignalData
from api.quotas import grant
from api.routes.run_control import steer
from db import audit
from schemas.errors import InputError, LimitError
from schemas.events import data_bytes
from schemas.run import MAX_OUTPUT_BYTES
from schemas.validation import check_size

# The interpreter's own; they have addresses of their own.
RESERVED = ("pause", "resume", "cancel")
RETRY_AFTER = 5
router = APIRouter(tags=["runs"])

SignalPath = Annotated[
    str, Path(pattern=r"^[a-z][a-z0-9_.-]{0,62}$", description="the signal's name")
]


@router.post(
    "/runs/{run_id}/signals/{name}",
    status_code=202,
    response_model=RunRef,
    responses=problems(400, 404, 409, 413, 429),
)
async def signal_run(
    run_id: RunPath,
    name: SignalPath,
    body: SignalData,
    database: DatabaseDep,
    gateway: GatewayDep,
    workspace: WorkspaceDep,
    actor: ActorDep,
) -> RunRef | Response:
    """Deliver data to the `wait` step of this name, now or when the run gets there."""
    if name in RESERVED:
        raise InputError(
            f"{name!r} is not a signal of a definition", hint=f"POST /api/v1/runs/{run_id}/{name}"
        )
    check_size(body.data, MAX_OUTPUT_BYTES, "the signal's data")

    async def deliver(workflow_id: str) -> None:
        await grant(database, gateway, run_id, workflow_id, data_bytes(body.data))
        await gateway.signal(workflow_id, name, body.data)

    try:
        told = await steer(database, workspace, run_id, deliver)
    except LimitError as error:
        # Elsewhere a limit speaks of the size of a body (413); here it passes with time.
        headers = {"Retry-After": str(RETRY_AFTER)}
        return problem_response(429, error.code, error.message, hint=error.hint, headers=headers)
    async with database.session() as session:
        data = {"signal": name}
        audit.add(session, workspace, actor=actor, action="run.signal", subject=run_id, data=data)
    return told
