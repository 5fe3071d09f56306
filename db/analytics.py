"""Figures of runs: by definition and version, what waits now, what wakes, what AI has cost."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlmodel.ext.asyncio.session import AsyncSession

from db.analytics_days import midnight
from db.base import now
from schemas.run import RunStatus

DEFAULT_DAYS = 30
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_END = datetime(9999, 1, 1, tzinfo=UTC)
# A run that never came to its own end by a person's will is no failure of its definition.
_JUDGED = (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.TIMED_OUT)


@dataclass(frozen=True, kw_only=True)
class Scope:
    """Which runs count: of a workspace and definition, made from `since` on and before `until`.

    `version` None is every version.
    """

    workspace: str
    definition: str
    version: int | None = None
    since: datetime = _BEGINNING
    until: datetime = _END

    @property
    def parameters(self) -> dict[str, Any]:
        """The values of `OF_RUNS`."""
        return {
            "workspace": self.workspace,
            "definition": self.definition,
            "version": self.version,
            "since": self.since,
            "until": self.until,
        }


OF_RUNS = """
    r.workspace = :workspace AND r.definition = :definition
    AND r.created_at >= :since AND r.created_at < :until
    AND (CAST(:version AS integer) IS NULL OR r.version = CAST(:version AS integer))
"""
# The runs that run batches of a loop are pieces of the run above.
_WHOLE = "(r.parent_path IS NULL OR r.parent_path NOT LIKE '%]')"
_SPREAD = """
    percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (
        ORDER BY date_part('epoch', r.finished_at - r.started_at) * 1000
    ) FILTER (WHERE r.status = 'completed') AS spread
"""


# Compiling a plan costs more than it saves here; sorts shall stay in memory; and what is asked for
# is mostly in memory, where a page out of turn costs no more than the next.
_FOR_READING = sa.text(
    "SELECT set_config('jit', 'off', true), set_config('work_mem', '64MB', true),"
    " set_config('random_page_cost', '1.1', true)"
)


@dataclass
class RunFigures:
    """How many runs there are by status, and in what time (ms) half and 95 % of them completed."""

    by_status: dict[str, int]
    p50_ms: float | None = None
    p95_ms: float | None = None

    @property
    def total(self) -> int:
        """All runs."""
        return sum(self.by_status.values())

    @property
    def success_rate(self) -> float | None:
        """Completed runs among those that completed, failed or timed out; None without any."""
        judged = sum(self.by_status.get(status, 0) for status in _JUDGED)
        return self.by_status.get(RunStatus.COMPLETED, 0) / judged if judged else None


def default_since(present: datetime | None = None) -> datetime:
    """Give the beginning of the last 30 days, today (UTC) the last of them."""
    today = (present or now()).astimezone(UTC).date()
    return midnight(today - timedelta(days=DEFAULT_DAYS - 1))


async def prepare(session: AsyncSession) -> None:
    """Have all statements of a transaction see one moment, and be planned for large reads."""
    connection = await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    await connection.execute(_FOR_READING)


async def rows(session: AsyncSession, sql: str, values: dict[str, Any]) -> list[dict[str, Any]]:
    """Run a statement and give its rows by column name."""
    found = await (await session.connection()).execute(sa.text(sql), values)
    return [dict(row) for row in found.mappings()]


async def of_versions(session: AsyncSession, scope: Scope) -> dict[int | None, RunFigures]:
    """Give the figures of each version, and under None those of all together."""
    sql = f"""
    SELECT r.version, r.status, count(*) AS runs, {_SPREAD}
    FROM runs r WHERE {OF_RUNS} AND {_WHOLE}
    GROUP BY GROUPING SETS ((r.version, r.status), (r.status))
    """  # noqa: S608 - constants of this module
    found: dict[int | None, RunFigures] = {None: RunFigures({})}
    for row in await rows(session, sql, scope.parameters):
        _add(found.setdefault(row["version"], RunFigures({})), row)
    return found


async def of_definitions(
    session: AsyncSession, workspace: str, since: datetime, until: datetime | None
) -> dict[str | None, RunFigures]:
    """Give the figures of each definition, and under None those of all together."""
    sql = f"""
    SELECT r.definition, r.status, count(*) AS runs, {_SPREAD}
    FROM runs r
    WHERE r.workspace = :workspace AND r.created_at >= :since AND r.created_at < :until AND {_WHOLE}
    GROUP BY GROUPING SETS ((r.definition, r.status), (r.status))
    """  # noqa: S608 - constants of this module
    found: dict[str | None, RunFigures] = {None: RunFigures({})}
    given = {"workspace": workspace, "since": since, "until": until or _END}
    for row in await rows(session, sql, given):
        _add(found.setdefault(row["definition"], RunFigures({})), row)
    return found


def _add(figures: RunFigures, row: dict[str, Any]) -> None:
    figures.by_status[row["status"]] = row["runs"]
    if row["status"] == RunStatus.COMPLETED and row["spread"] is not None:
        figures.p50_ms, figures.p95_ms = row["spread"]


async def errors(session: AsyncSession, scope: Scope) -> dict[str, int]:
    """Count the runs that failed or timed out by error code, the most frequent first."""
    sql = f"""
    SELECT coalesce(r.error ->> 'code', upper(r.status)) AS code, count(*) AS runs
    FROM runs r
    WHERE {OF_RUNS} AND {_WHOLE} AND r.status IN ('failed', 'timed_out')
    GROUP BY 1 ORDER BY 2 DESC, 1
    """  # noqa: S608 - constants of this module
    return {row["code"]: row["runs"] for row in await rows(session, sql, scope.parameters)}


@dataclass(frozen=True)
class Waiting:
    """How many steps of one id wait now, since when the first does, and the next timer's end."""

    step: str
    type: str
    waiting: int
    oldest: datetime | None
    next: datetime | None


_WAITING = """
    FROM run_steps s JOIN runs r ON r.id = s.run_id
    WHERE s.status = 'waiting' AND r.workspace = :workspace AND r.definition = :definition
    AND r.status IN ('running', 'waiting', 'paused', 'compensating')
    AND (CAST(:version AS integer) IS NULL OR r.version = CAST(:version AS integer))
"""


async def waiting(session: AsyncSession, scope: Scope) -> list[Waiting]:
    """Count the steps that wait now, whenever their runs were made; the most first."""
    sql = f"""
    SELECT s.id AS step, s.type, count(*) AS waiting, min(s.started_at) AS oldest,
        min(s.until) AS next
    {_WAITING} GROUP BY 1, 2 ORDER BY 3 DESC, 1
    """
    given = _without_times(scope)
    return [Waiting(**row) for row in await rows(session, sql, given)]


async def wakes(session: AsyncSession, scope: Scope, days: int) -> dict[date, int]:
    """Count the timers that end on each of the next days (UTC), today's and overdue ones first."""
    present = now()
    today = present.astimezone(UTC).date()
    sql = f"""
    SELECT (greatest(s.until, CAST(:now AS timestamptz)) AT TIME ZONE 'UTC')::date AS day,
        count(*) AS timers
    {_WAITING} AND s.until < :end GROUP BY 1
    """
    given = {
        **_without_times(scope),
        "now": present,
        "end": midnight(today + timedelta(days=days)),
    }
    found = {row["day"]: row["timers"] for row in await rows(session, sql, given)}
    ahead = [today + timedelta(days=number) for number in range(days)]
    return {day: found.get(day, 0) for day in ahead}


def _without_times(scope: Scope) -> dict[str, Any]:
    left = ("workspace", "definition", "version")
    return {name: value for name, value in scope.parameters.items() if name in left}


@dataclass(frozen=True)
class AiFigures:
    """Calls that were answered by models, their tokens, and their cost in USD."""

    calls: int
    input_tokens: int
    output_tokens: int
    cost: Decimal


async def ai(
    session: AsyncSession,
    workspace: str,
    since: datetime,
    until: datetime,
    definition: str | None = None,
    version: int | None = None,
) -> AiFigures:
    """Sum up what AI steps used, by the time of the calls."""
    of_version = "JOIN runs r ON r.id = u.budget_run_id AND r.version = :version"
    given: dict[str, Any] = {"workspace": workspace, "since": since, "until": until}
    sql = f"""
    SELECT count(*) FILTER (WHERE u.state = 'settled' AND NOT u.cached) AS calls,
        coalesce(sum(u.input_tokens), 0) AS input_tokens,
        coalesce(sum(u.output_tokens), 0) AS output_tokens, coalesce(sum(u.cost), 0) AS cost
    FROM ai_usage u {of_version if version is not None else ""}
    WHERE u.workspace = :workspace AND u.at >= :since AND u.at < :until
    {"AND u.definition = :definition" if definition is not None else ""}
    """  # noqa: S608 - constants of this module
    if version is not None:
        given["version"] = version
    if definition is not None:
        given["definition"] = definition
    [row] = await rows(session, sql, given)
    return AiFigures(**row)
