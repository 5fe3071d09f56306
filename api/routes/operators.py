"""What operators do to a run: decide about held steps, change vars, go back."""

from typing import Annotated

from fastapi import APIRouter, Depends

from api.dependencies import ConfigDep, DatabaseDep, GatewayDep, IdentityDep
from api.errors import problems
from api.models.common import RunPath, StepPath
from api.models.operators import (
    AbortStep,
    OrderAnswer,
    RetryStep,
    RewindRun,
    SkipStep,
    VarsPatch,
)
from api.operating import Desk
from schemas.operations import Decide, Rewind, SetVars

router = APIRouter(tags=["runs"], prefix="/runs/{run_id}")


async def get_desk(
    database: DatabaseDep, gateway: GatewayDep, identity: IdentityDep, config: ConfigDep
) -> Desk:
    """What takes orders."""
    return Desk(database, gateway, identity.workspace, identity.actor, config.masking)


DeskDep = Annotated[Desk, Depends(get_desk)]
REFUSALS = problems(400, 403, 404, 409, 413)


@router.post("/steps/{path}/retry", responses=REFUSALS)
async def retry_step(
    run_id: RunPath, path: StepPath, desk: DeskDep, body: RetryStep | None = None
) -> OrderAnswer:
    """Run a step that failed and is held again, as it was or with another input."""
    given = body or RetryStep()
    order = Decide(path=path, action="retry", input=given.input, by=given.by)
    return await desk.give(run_id, "step.retry", order)


@router.post("/steps/{path}/skip", responses=REFUSALS)
async def skip_step(
    run_id: RunPath, path: StepPath, desk: DeskDep, body: SkipStep | None = None
) -> OrderAnswer:
    """Go on without a step that failed and is held; later steps see the output given here."""
    given = body or SkipStep()
    order = Decide(path=path, action="skip", output=given.output, by=given.by)
    return await desk.give(run_id, "step.skip", order)


@router.post("/steps/{path}/abort", responses=REFUSALS)
async def abort_step(
    run_id: RunPath, path: StepPath, desk: DeskDep, body: AbortStep | None = None
) -> OrderAnswer:
    """Let a step that is held fail; the run compensates what it has done."""
    given = body or AbortStep()
    return await desk.give(run_id, "step.abort", Decide(path=path, action="abort", by=given.by))


@router.patch("/vars", responses=REFUSALS)
async def patch_vars(run_id: RunPath, body: VarsPatch, desk: DeskDep) -> OrderAnswer:
    """Change `vars` of a run that is paused, or has a held step and nothing else to do."""
    return await desk.give(run_id, "run.set_vars", SetVars(vars=body.vars, by=body.by))


@router.post("/rewind", responses=REFUSALS)
async def rewind_run(run_id: RunPath, body: RewindRun, desk: DeskDep) -> OrderAnswer:
    """Go back to a step: it and what follows run again, the other results are kept."""
    return await desk.give(run_id, "run.rewind", Rewind(path=body.path, by=body.by))
