"""/healthz and /readyz: is the process alive, and can it do its work."""

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, Field

from api.auth import public
from api.dependencies import DatabaseDep, GatewayDep
from schemas.errors import SojournError
from workflows.gateway import Gateway

PING_SECONDS = 1.0
CHECK_SECONDS = 2.0
router = APIRouter(tags=["process"])


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """What works: `degraded` when some of it does not, with which parts are down."""

    status: Literal["ready", "degraded"]
    temporal: bool = Field(description="the Temporal server answers")
    database: bool = Field(description="PostgreSQL answers")
    workers: bool = Field(description="at least one worker polls the task queue")
    down: list[str] = Field(examples=[["workers"]])
    message: str | None = None


@router.get("/healthz")
@public
async def healthz() -> Alive:
    """The process runs; says nothing of what it depends on."""
    return Alive()


class _Ping(BaseModel):
    ok: bool
    message: str | None = None


async def ping_database(database: DatabaseDep) -> _Ping:
    """Ask PostgreSQL within a second."""
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await database.ping(PING_SECONDS)
    except (SojournError, TimeoutError) as error:
        return _Ping(ok=False, message=str(error) or "PostgreSQL does not answer in time")
    return _Ping(ok=True)


async def _ask_temporal(gateway: Gateway) -> tuple[bool, bool, str | None]:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            health = await gateway.health()
    except TimeoutError:
        return False, False, "Temporal does not answer in time"
    return health.temporal, health.workers, health.message


@router.get(
    "/readyz",
    responses={503: {"model": Readiness, "description": "Some part is down"}},
)
@public
async def readyz(
    gateway: GatewayDep,
    database: Annotated[_Ping, Depends(ping_database)],
    response: Response,
) -> Readiness:
    """200 when Temporal and PostgreSQL answer and workers poll; else 503 and what is down."""
    temporal, workers, message = await _ask_temporal(gateway)
    parts = {"temporal": temporal, "database": database.ok, "workers": workers}
    down = [name for name, works in parts.items() if not works]
    if down:
        response.status_code = 503
    return Readiness(
        status="degraded" if down else "ready",
        down=down,
        message=database.message or message,
        **parts,
    )
