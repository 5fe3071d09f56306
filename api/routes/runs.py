"""/runs: starting, listing and showing runs."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, BackgroundTasks, Depends, Header, Query, Request, Response

from api.dependencies import (
    ActorDep,
    CatalogueDep,
    CircuitDep,
    ConfigDep,
    DatabaseDep,
    GatewayDep,
    SessionDep,
    WorkspaceDep,
)
from api.errors import problems
from api.identity import Identity
from api.live import look
from api.models.common import NamePath, PageDep, RunPath
from api.models.runs import RunDetail, RunPage, StartAnswer, StartRun, StepView
from api.starting import Order, Starter
from api.views import merge_steps, run_detail, run_summary
from db import idempotency, run_steps, runs
from db.base import now
from db.trigger_gates import Gate
from db.trigger_table import TriggerKind
from schemas.definition import DefinitionName
from schemas.errors import InputError
from schemas.run import RunStatus

router = APIRouter(tags=["runs"])

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="the same key with the same request gives the same run",
    ),
]
StartKind = Annotated[
    Literal["api", "manual"],
    Header(
        alias="X-Sojourn-Start",
        description="who starts it, a program or a person: which of the triggers `api` and "
        "`manual` counts, where the definition has them",
    ),
]
ANSWERS = {
    200: {"model": StartAnswer, "description": "The run that the same key started before"},
    202: {
        "model": StartAnswer,
        "description": "It starts when there is a free slot, or when Temporal is back",
    },
}


async def get_starter(
    request: Request,
    database: DatabaseDep,
    gateway: GatewayDep,
    config: ConfigDep,
    catalogue: CatalogueDep,
    circuit: CircuitDep,
) -> Starter:
    """What starts runs of the caller's workspace; a public endpoint says `of` which one."""
    identity: Identity | None = getattr(request.state, "identity", None)
    home = None if identity is None else identity.workspace
    return Starter(database, gateway, config, catalogue, circuit, home)


StarterDep = Annotated[Starter, Depends(get_starter)]


@router.post(
    "/definitions/{name}/runs",
    status_code=201,
    responses={**ANSWERS, **problems(400, 404, 409, 413, 429)},
)
async def start_run(
    name: NamePath,
    body: StartRun,
    starter: StarterDep,
    actor: ActorDep,
    response: Response,
    after: BackgroundTasks,
    idempotency_key: IdempotencyKey = None,
    start: StartKind = "api",
) -> StartAnswer:
    """Start a run of the active version or of the one named; it survives any crash from then on.

    202 when it has to wait: for a slot or its time, by the definition's limits, or for Temporal.
    """
    started = await starter.start(
        Order(
            definition=name,
            version=body.version,
            input=body.input,
            lead=body.lead,
            priority=body.priority,
            actor=actor,
            key=idempotency_key,
            fingerprint=idempotency.fingerprint("run", name, body.model_dump(mode="json")),
            gate=Gate(TriggerKind(start)),
        )
    )
    after.add_task(starter.mark, started)
    response.status_code = started.http_status
    response.headers["Location"] = f"/api/v1/runs/{started.run_id}"
    return StartAnswer(id=started.run_id, status=started.status, position=started.position)


@router.get("/runs", responses=problems())
async def list_runs(
    session: SessionDep,
    workspace: WorkspaceDep,
    page: PageDep,
    definition: Annotated[DefinitionName | None, Query()] = None,
    status: Annotated[list[RunStatus] | None, Query(max_length=10)] = None,
    lead: Annotated[str | None, Query(max_length=64, description="a lead's id")] = None,
    parent: Annotated[
        str | None, Query(max_length=64, description="the id of the run that started them")
    ] = None,
    blocked: Annotated[
        bool | None, Query(description="only runs that Temporal cannot get on, or only others")
    ] = None,
    created_from: Annotated[datetime | None, Query(alias="from", description="included")] = None,
    created_to: Annotated[datetime | None, Query(alias="to", description="not included")] = None,
) -> RunPage:
    """Runs, newest first, by definition, status, lead and the time they were created.

    Runs that other runs started are listed with `parent` only.
    """
    for name, moment in (("from", created_from), ("to", created_to)):
        if moment is not None and moment.tzinfo is None:
            raise InputError(f"{name!r} needs a time zone", hint="2026-01-31T12:00:00Z")
    as_of = now()
    found = await runs.list_page(
        session,
        workspace,
        definition=definition,
        status=status or None,
        lead_id=lead,
        parent=parent,
        created_from=created_from,
        created_to=created_to,
        blocked=blocked,
        cursor=page.cursor,
        limit=page.limit,
    )
    items = [run_summary(row) for row in found.items]
    return RunPage(items=items, next_cursor=found.next_cursor, as_of=as_of)


@router.get("/runs/{run_id}", responses=problems(404))
async def get_run(
    run_id: RunPath,
    database: DatabaseDep,
    gateway: GatewayDep,
    config: ConfigDep,
    workspace: WorkspaceDep,
) -> RunDetail:
    """One run: its row, for an open run refreshed from Temporal within a second or `stale`."""
    async with database.session() as session:
        run = await runs.get(session, workspace, run_id)
    live = await look(database, gateway, run, config.state_deadline)
    return run_detail(live.run, live.state, stale=live.stale, no_worker=live.no_worker)


@router.get("/runs/{run_id}/steps", responses=problems(404))
async def list_run_steps(
    run_id: RunPath,
    database: DatabaseDep,
    gateway: GatewayDep,
    config: ConfigDep,
    workspace: WorkspaceDep,
) -> list[StepView]:
    """The steps of a run in the order in which they began; live while it is open."""
    async with database.session() as session:
        run = await runs.get(session, workspace, run_id)
    live = await look(database, gateway, run, config.state_deadline)
    async with database.session() as session:
        rows = await run_steps.steps(session, workspace, run_id)
    return merge_steps(rows, live.state, config.ai_keep)
