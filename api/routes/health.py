"""/healthz and /readyz: is the process alive, and can it do its work."""

import asyncio
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from api.auth import public
from api.dependencies import DatabaseDep, GatewayDep
from db.engine import Database
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


async def _ask_database(database: Database) -> tuple[bool, str | None]:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await database.ping(PING_SECONDS)
    except (SojournError, TimeoutError) as error:
        return False, str(error) or "PostgreSQL does not answer in time"
    return True, None


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
async def readyz(gateway: GatewayDep, database: DatabaseDep, response: Response) -> Readiness:
    """200 when Temporal and PostgreSQL answer and workers poll; else 503 and what is down."""
    (works, complaint), (temporal, workers, message) = await asyncio.gather(
        _ask_database(database), _ask_temporal(gateway)
    )
    parts = {"temporal": temporal, "database": works, "workers": workers}
    down = [name for name, up in parts.items() if not up]
    if down:
        response.status_code = 503
    return Readiness(
        status="degraded" if down else "ready",
        down=down,
        message=complaint or message,
        **parts,
    )
