"""POST /runs/{id}/pause, resume, cancel, terminate and unblock."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from sqlmodel.ext.asyncio.session import AsyncSession

from api.dependencies import ConfigDep, DatabaseDep, GatewayDep, IdentityDep
from api.errors import problems
from api.models.common import RunPath
from api.models.runs import RunRef, TerminateRun, UnblockRun
from db import admission, audit, blocked, run_logs, runs, terminating
from db.engine import Database
from db.operator_log import operator_line
from schemas.errors import ConflictError, NotFoundError
from schemas.masking import Masking
from schemas.run import RunStatus
from workflows.gateway import Gateway

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


@dataclass(frozen=True)
class Helm:
    """Steers runs of one workspace, and writes down that somebody did."""

    database: Database
    gateway: Gateway
    workspace: str
    actor: str
    masking: Masking

    async def steer(
        self, run_id: str, action: str, say: Callable[[str], Awaitable[None]]
    ) -> RunRef:
        """Say something to an open run, as `steer` does; audit and the run's log have it."""
        answer = await steer(self.database, self.workspace, run_id, say)
        async with self.database.session() as session:
            await self.note(session, run_id, action)
        return answer

    async def terminate(self, run_id: str, reason: str) -> RunRef:
        """End a run where it stands, and its row with it; gives the status that this has then."""
        async with self.database.session() as session:
            waits = await admission.holds_back(session, self.workspace, run_id)
            if waits:
                await self._terminated(session, run_id, reason)
        if not waits:

            async def end(workflow_id: str) -> None:
                await self.gateway.terminate(workflow_id, f"terminated by {self.actor}")

            await steer(self.database, self.workspace, run_id, end)
            async with self.database.session() as session:
                await self._terminated(session, run_id, reason)
        async with self.database.session() as session:
            run = await runs.get(session, self.workspace, run_id)
        return RunRef(id=run.id, status=run.status)

    async def _terminated(self, session: AsyncSession, run_id: str, reason: str) -> None:
        await terminating.terminated(session, self.workspace, run_id, reason)
        await self.note(session, run_id, "run.terminate", reason=reason)

    async def note(self, session: AsyncSession, run_id: str, action: str, **about: Any) -> None:
        """Write down what was done."""
        audit.add(
            session,
            self.workspace,
            actor=self.actor,
            action=action,
            subject=run_id,
            data=about or None,
        )
        line = operator_line(action, about, self.actor)
        await run_logs.write(session, self.workspace, run_id, [line], self.masking)


async def get_helm(
    database: DatabaseDep, gateway: GatewayDep, identity: IdentityDep, config: ConfigDep
) -> Helm:
    """What steers runs."""
    return Helm(database, gateway, identity.workspace, identity.actor, config.masking)


HelmDep = Annotated[Helm, Depends(get_helm)]


@router.post("/pause", status_code=202, responses=problems(404, 409))
async def pause_run(run_id: RunPath, helm: HelmDep) -> RunRef:
    """Start nothing new until resumed; what runs goes on, and timers elapse."""
    return await helm.steer(run_id, "run.pause", helm.gateway.pause)


@router.post("/resume", status_code=202, responses=problems(404, 409))
async def resume_run(run_id: RunPath, helm: HelmDep) -> RunRef:
    """Go on after a pause."""
    return await helm.steer(run_id, "run.resume", helm.gateway.resume)


@router.post("/cancel", status_code=202, responses=problems(404, 409))
async def cancel_run(run_id: RunPath, helm: HelmDep) -> RunRef:
    """Ask the run to end; what it is doing is cancelled. One that waits in a queue ends at once."""
    async with helm.database.session() as session:
        if await admission.withdraw(session, helm.workspace, run_id):
            await helm.note(session, run_id, "run.cancel")
            return RunRef(id=run_id, status=RunStatus.CANCELLED)
    return await helm.steer(run_id, "run.cancel", helm.gateway.cancel)


@router.post("/terminate", responses=problems(400, 404, 409))
async def terminate_run(run_id: RunPath, helm: HelmDep, body: TerminateRun) -> RunRef:
    """End the run at once, where it stands: nothing is compensated, and no worker is asked.

    For runs that cancel does not end: blocked ones, and those whose compensation is to be skipped.
    What an action is doing meanwhile comes to its end or its timeout. Sub-runs that the run waits
    for are cancelled, detached ones go on.
    """
    return await helm.terminate(run_id, body.reason)


@router.post("/unblock", status_code=202, responses=problems(400, 404, 409))
async def unblock_run(run_id: RunPath, helm: HelmDep, body: UnblockRun | None = None) -> RunRef:
    """Have a blocked run go on at once, when what held it up is mended.

    Temporal tries it again by itself, with pauses of up to ten minutes.
    """
    point = (body or UnblockRun()).from_

    async def reset(workflow_id: str) -> None:
        await helm.gateway.blockages.reset(workflow_id, point, f"unblocked by {helm.actor}")

    async with helm.database.session() as session:
        if (await runs.get(session, helm.workspace, run_id)).blocked_at is None:
            raise ConflictError("the run is not blocked", hint="GET the run shows `blocked`")
    answer = await helm.steer(run_id, "run.unblock", reset)
    async with helm.database.session() as session:
        await blocked.clear(session, run_id)
    return answer
