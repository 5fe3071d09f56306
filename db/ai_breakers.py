"""Circuit breakers of AI providers: a row for each endpoint, shared by all workers.

A circuit is closed, open or half open (M. Nygard, "Release It!", 2007). The database's clock and
row locks decide: of all workers only as many as there are probes get through a half-open circuit.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel
from sqlmodel import Field, SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db.base import clean_text, enum_type, now


class CircuitState(StrEnum):
    """Whether calls go through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class AiBreaker(SQLModel, table=True):
    """The circuit of one endpoint; `workspace` is empty for those that all workspaces share.

    `failures` counts those in a row since `window_at`. `epoch` grows each time that the circuit
    opens: what a call from before says is not heard. `probes` and `passed` count the calls of this
    half-open time, which lasts until `probe_until` at most.
    """

    __tablename__ = "ai_breakers"  # pyright: ignore[reportAssignmentType]

    workspace: str = Field(primary_key=True)
    endpoint: str = Field(primary_key=True)
    state: CircuitState = Field(default=CircuitState.CLOSED, sa_type=enum_type(CircuitState))
    failures: int = 0
    window_at: datetime = Field(default_factory=now)
    epoch: int = 0
    open_until: datetime | None = None
    probes: int = 0
    passed: int = 0
    probe_until: datetime | None = None
    last_error: str | None = None
    updated_at: datetime = Field(default_factory=now)


class Thresholds(BaseModel):
    """When circuits open and close.

    `failures` in a row within `window` open one for `open_for`; then `probes` calls may try, and
    all of them must succeed. A probe that says nothing within `probe_for` is given up.
    """

    failures: int = Field(default=5, ge=1)
    window: timedelta = timedelta(seconds=60)
    open_for: timedelta = timedelta(seconds=30)
    probes: int = Field(default=1, ge=1)
    probe_for: timedelta = timedelta(seconds=60)


class Permit(BaseModel):
    """Whether a call may be made; if not, how many seconds to wait. `clean`: nothing to reset."""

    allowed: bool
    epoch: int = 0
    probe: bool = False
    clean: bool = True
    retry_after: float | None = None


_READ = sa.text("""
SELECT state, failures, epoch,
    extract(epoch FROM open_until - clock_timestamp()) AS open_left,
    extract(epoch FROM probe_until - clock_timestamp()) AS probe_left
FROM ai_breakers WHERE workspace = :workspace AND endpoint = :endpoint
""")

# One statement decides: a rival waits for the row, and then finds the condition no longer true.
_PROBE = sa.text("""
UPDATE ai_breakers SET
    state = 'half_open',
    probes = CASE WHEN state = 'open' OR probe_until <= clock_timestamp()
        THEN 1 ELSE probes + 1 END,
    passed = CASE WHEN state = 'open' OR probe_until <= clock_timestamp() THEN 0 ELSE passed END,
    epoch = CASE WHEN state = 'half_open' AND probe_until <= clock_timestamp()
        THEN epoch + 1 ELSE epoch END,
    probe_until = CASE WHEN state = 'open' OR probe_until <= clock_timestamp()
        THEN clock_timestamp() + CAST(:probe_for AS interval) ELSE probe_until END,
    updated_at = clock_timestamp()
WHERE workspace = :workspace AND endpoint = :endpoint AND (
    (state = 'open' AND open_until <= clock_timestamp())
    OR (state = 'half_open'
        AND (probes < CAST(:probes AS integer) OR probe_until <= clock_timestamp()))
)
RETURNING epoch
""")

_FAILED = sa.text("""
INSERT INTO ai_breakers AS b (workspace, endpoint, state, failures, window_at, epoch, open_until,
    probes, passed, last_error, updated_at)
VALUES (CAST(:workspace AS text), CAST(:endpoint AS text),
    CASE WHEN CAST(:limit AS integer) <= 1 THEN 'open' ELSE 'closed' END, 1, clock_timestamp(),
    CASE WHEN CAST(:limit AS integer) <= 1 THEN 1 ELSE 0 END,
    CASE WHEN CAST(:limit AS integer) <= 1 THEN clock_timestamp() + CAST(:open_for AS interval) END,
    0, 0, CAST(:error AS text), clock_timestamp())
ON CONFLICT (workspace, endpoint) DO UPDATE SET
    failures = CASE WHEN b.window_at <= clock_timestamp() - CAST(:window AS interval)
        THEN 1 ELSE b.failures + 1 END,
    window_at = CASE
        WHEN b.failures = 0 OR b.window_at <= clock_timestamp() - CAST(:window AS interval)
        THEN clock_timestamp() ELSE b.window_at END,
    last_error = CAST(:error AS text), updated_at = clock_timestamp()
WHERE b.state <> 'open' AND b.epoch = CAST(:epoch AS integer)
RETURNING state, failures
""")

_OPEN = sa.text("""
UPDATE ai_breakers SET state = 'open', epoch = epoch + 1, probes = 0, passed = 0,
    open_until = clock_timestamp() + CAST(:open_for AS interval)
WHERE workspace = :workspace AND endpoint = :endpoint
    AND epoch = CAST(:epoch AS integer) AND state <> 'open'
""")

_SUCCEEDED = sa.text("""
UPDATE ai_breakers SET
    passed = passed + 1,
    failures = CASE WHEN state = 'closed' OR passed + 1 >= CAST(:probes AS integer)
        THEN 0 ELSE failures END,
    state = CASE WHEN passed + 1 >= CAST(:probes AS integer) THEN 'closed' ELSE state END,
    updated_at = clock_timestamp()
WHERE workspace = :workspace AND endpoint = :endpoint
    AND epoch = CAST(:epoch AS integer) AND state <> 'open'
""")


async def permit(
    session: AsyncSession, workspace: str, endpoint: str, thresholds: Thresholds
) -> Permit:
    """Tell whether a call may be made now; through a half-open circuit it is then a probe."""
    where = {"workspace": workspace, "endpoint": endpoint}
    connection = await session.connection()
    row = (await connection.execute(_READ, where)).mappings().first()
    if row is None:
        return Permit(allowed=True)
    if row["state"] == CircuitState.CLOSED:
        return Permit(allowed=True, epoch=row["epoch"], clean=row["failures"] == 0)
    if row["state"] == CircuitState.OPEN and row["open_left"] > 0:
        return Permit(allowed=False, epoch=row["epoch"], retry_after=float(row["open_left"]))
    wish = {**where, "probes": thresholds.probes, "probe_for": thresholds.probe_for}
    epoch = (await connection.execute(_PROBE, wish)).scalar()
    if epoch is not None:
        return Permit(allowed=True, epoch=epoch, probe=True, clean=False)
    # Others probe: they will know within the time of a call.
    left = max(float(row["probe_left"] or 0), 1.0)
    return Permit(allowed=False, epoch=row["epoch"], retry_after=min(left, 5.0))


async def failed(
    session: AsyncSession,
    workspace: str,
    endpoint: str,
    given: Permit,
    thresholds: Thresholds,
    error: str,
) -> bool:
    """Count a call that the endpoint did not serve; True if the circuit opened by it."""
    values: dict[str, Any] = {"workspace": workspace, "endpoint": endpoint, "epoch": given.epoch}
    connection = await session.connection()
    row = (
        (
            await connection.execute(
                _FAILED,
                {
                    **values,
                    "limit": thresholds.failures,
                    "window": thresholds.window,
                    "open_for": thresholds.open_for,
                    "error": clean_text(error[:500]),
                },
            )
        )
        .mappings()
        .first()
    )
    if row is None:
        return False
    if row["state"] == CircuitState.OPEN:
        return True
    if row["state"] == CircuitState.CLOSED and row["failures"] < thresholds.failures:
        return False
    opened = await connection.execute(_OPEN, {**values, "open_for": thresholds.open_for})
    return opened.rowcount > 0


async def succeeded(
    session: AsyncSession, workspace: str, endpoint: str, given: Permit, thresholds: Thresholds
) -> None:
    """Count a call that was served: failures are forgotten, and enough probes close the circuit."""
    if given.clean:
        return
    values = {
        "workspace": workspace,
        "endpoint": endpoint,
        "epoch": given.epoch,
        "probes": thresholds.probes,
    }
    await (await session.connection()).execute(_SUCCEEDED, values)


async def list_all(session: AsyncSession, workspace: str) -> list[AiBreaker]:
    """Return the circuits that a workspace's calls go through, by endpoint."""
    statement = select(AiBreaker).where(col(AiBreaker.workspace).in_(["", workspace]))
    return list((await session.exec(statement.order_by(col(AiBreaker.endpoint)))).all())
