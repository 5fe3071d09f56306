"""POST /runs/{id}/signals/{name}: what `wait` steps wait for."""

from typing import Annotated

from fastapi import APIRouter, Path

from api.dependencies import DatabaseDep, GatewayDep, WorkspaceDep
from api.errors import problems
from api.models.common import RunPath
from api.models.runs import RunRef, SignalData
from api.routes.run_control import steer
from schemas.errors import ErrorCode, InputError, LimitError, SojournError
from schemas.run import MAX_OUTPUT_BYTES
from schemas.validation import check_size

# The interpreter's own; they have addresses of their own.
RESERVED = ("pause", "resume", "cancel")
RETRY_AFTER = 5.0
router = APIRouter(tags=["runs"])

SignalPath = Annotated[
    str, Path(pattern=r"^[a-z][a-z0-9_.-]{0,62}$", description="the signal's name")
]


@router.post(
    "/runs/{run_id}/signals/{name}",
    status_code=202,
    responses=problems(400, 404, 409, 413, 429),
)
async def signal_run(
    run_id: RunPath,
    name: SignalPath,
    body: SignalData,
    database: DatabaseDep,
    gateway: GatewayDep,
    workspace: WorkspaceDep,
) -> RunRef:
    """Deliver data to the `wait` step of this name, now or when the run gets there."""
    if name in RESERVED:
        raise InputError(
            f"{name!r} is not a signal of a definition", hint=f"POST /api/v1/runs/{run_id}/{name}"
        )
    check_size(body.data, MAX_OUTPUT_BYTES, "the signal's data")

    async def deliver(workflow_id: str) -> None:
        try:
            await gateway.signal(workflow_id, name, body.data)
        except LimitError as error:
            raise SojournError(
                error.message, code=ErrorCode.RATE_LIMITED, retry_after=RETRY_AFTER
            ) from error

    return await steer(database, workspace, run_id, deliver)
