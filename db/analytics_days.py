"""The steps of days that are over, counted once: what makes analytics of a million steps quick.

A day's figures are computed anew as a whole, by one query off the path of runs, so that a repeated
or broken pass does no harm. A day is due again when its ended runs are not those that were
counted: one was closed late, or some were pruned.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import sqlalchemy as sa
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from db.analytics_tables import RolledDay
from db.base import now
from db.engine import Database
from db.locks import try_lock

# A run's end is stamped before it is committed, by the clock of its worker.
_SETTLED = timedelta(minutes=10)
_DAY = timedelta(days=1)

# What counts of a step. A loop in batches stands in each batch's run again, besides in the run
# above: `parent_path` of a batch is the loop's path and `[200]`.
MEASURES = """
    count(*) AS steps,
    count(*) FILTER (WHERE s.status NOT IN ('pending', 'skipped') OR s.attempts > 0) AS started,
    count(*) FILTER (WHERE s.attempts > 1) AS retried,
    coalesce(sum(greatest(s.attempts - 1, 0)), 0) AS retries,
    count(s.duration_ms) AS timed,
    coalesce(sum(s.duration_ms), 0) AS duration_ms
"""
ONCE = r"""
    NOT (r.parent_path IS NOT NULL AND r.parent_path LIKE '%]'
         AND s.path = regexp_replace(r.parent_path, '\[\d+\]$', ''))
"""

_ROLL = sa.text(f"""
INSERT INTO analytics_step_days (
    workspace, definition, ended_on, created_on, version, step, type, status, error_code,
    steps, started, retried, retries, timed, duration_ms
)
SELECT r.workspace, r.definition, CAST(:day AS date), (r.created_at AT TIME ZONE 'UTC')::date,
    r.version, s.id, s.type, s.status, coalesce(s.error_code, ''), {MEASURES}
FROM runs r JOIN run_steps s ON s.run_id = r.id
WHERE r.workspace = :workspace AND r.finished_at >= :since AND r.finished_at < :until AND {ONCE}
GROUP BY 1, 2, 4, 5, 6, 7, 8, 9
""")  # noqa: S608 - constants of this module
_FORGET = sa.text(
    "DELETE FROM analytics_step_days WHERE workspace = :workspace AND ended_on = :day"
)
_MARK = sa.text("""
INSERT INTO analytics_days (workspace, day, runs, fingerprint, rolled_at)
SELECT CAST(:workspace AS text), CAST(:day AS date), count(*),
    coalesce(bit_xor(hashtextextended(id, 0)), 0), CAST(:now AS timestamptz)
FROM runs
WHERE workspace = :workspace AND finished_at >= :since AND finished_at < :until
ON CONFLICT (workspace, day) DO UPDATE SET
    runs = excluded.runs, fingerprint = excluded.fingerprint, rolled_at = excluded.rolled_at
""")
_DUE = sa.text("""
WITH there AS (
    SELECT (finished_at AT TIME ZONE 'UTC')::date AS day, count(*) AS runs,
        bit_xor(hashtextextended(id, 0)) AS fingerprint
    FROM runs
    WHERE workspace = :workspace AND finished_at IS NOT NULL AND finished_at < :until
    GROUP BY 1
)
SELECT coalesce(there.day, rolled.day) AS day
FROM there
FULL JOIN (
    SELECT day, runs, fingerprint FROM analytics_days WHERE workspace = :workspace
) AS rolled ON rolled.day = there.day
WHERE rolled.day IS NULL OR coalesce(there.runs, 0) <> rolled.runs
    OR coalesce(there.fingerprint, 0) <> rolled.fingerprint
ORDER BY 1
""")


@dataclass(frozen=True)
class Rolled:
    """The days that a pass computed; none where another process was at it."""

    days: list[date]


def midnight(day: date) -> datetime:
    """Give the beginning of a day in UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


async def rolled_until(session: AsyncSession, workspace: str) -> datetime:
    """Give the moment before which all ended runs are in the days' figures."""
    last = sa.select(sa.func.max(col(RolledDay.day))).where(col(RolledDay.workspace) == workspace)
    day: date | None = (await (await session.connection()).execute(last)).scalar()
    return midnight(date(1970, 1, 1) if day is None else day + _DAY)


async def roll(database: Database, workspace: str, *, present: datetime | None = None) -> Rolled:
    """Compute the days that are over and not counted yet, or no longer right, oldest first.

    Each day is a transaction of its own: what was done stays done.
    """
    # The first day that is not over, or has only just been.
    open_day = ((present or now()) - _SETTLED).astimezone(UTC).date()
    async with database.session() as session:
        statement = _DUE.columns(sa.column("day", sa.Date))
        given = {"workspace": workspace, "until": midnight(open_day)}
        found = await (await session.connection()).execute(statement, given)
        days: list[date] = list(found.scalars())
        if await rolled_until(session, workspace) < midnight(open_day) and (
            not days or days[-1] < open_day - _DAY
        ):
            # Nothing ended on the last day: that is known now, too.
            days.append(open_day - _DAY)
    done: list[date] = []
    for day in days:
        async with database.session() as session:
            # One snapshot for the day's figures and for the number of runs that they are of.
            connection = await session.connection(
                execution_options={"isolation_level": "REPEATABLE READ"}
            )
            if not await try_lock(session, f"analytics/{workspace}"):
                break
            span = {
                "workspace": workspace,
                "day": day,
                "since": midnight(day),
                "until": midnight(day + _DAY),
            }
            await connection.execute(_FORGET, {"workspace": workspace, "day": day})
            await connection.execute(_ROLL, span)
            await connection.execute(_MARK, {**span, "now": now()})
        done.append(day)
    return Rolled(done)
