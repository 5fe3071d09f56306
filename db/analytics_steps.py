"""Figures of steps: what began and how it ended, retries, errors by code."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlmodel.ext.asyncio.session import AsyncSession

from db.analytics import Scope, rows
from db.analytics_days import MEASURES, ONCE, midnight, rolled_until

_DAY = timedelta(days=1)
_MEASURES = ("steps", "started", "retried", "retries", "timed", "duration_ms")

_KEPT = """
SELECT step, type, status, error_code,
    CAST(sum(steps) AS bigint) AS steps, CAST(sum(started) AS bigint) AS started,
    CAST(sum(retried) AS bigint) AS retried, CAST(sum(retries) AS bigint) AS retries,
    CAST(sum(timed) AS bigint) AS timed, CAST(sum(duration_ms) AS bigint) AS duration_ms
FROM analytics_step_days
WHERE workspace = :workspace AND definition = :definition
    AND created_on >= :first AND created_on < :last
    AND (CAST(:version AS integer) IS NULL OR version = CAST(:version AS integer))
GROUP BY 1, 2, 3, 4
"""
# What the days do not have: runs that are open or ended since, and those of days that the span
# holds in part. Each part has a range of its own, from which PostgreSQL can tell how many they are.
_OF_PART = """
SELECT r.id, r.parent_path FROM runs r
WHERE r.workspace = :workspace AND r.definition = :definition
    AND (CAST(:version AS integer) IS NULL OR r.version = CAST(:version AS integer))
"""
_OPEN = f"""{_OF_PART}
    AND r.created_at >= :first AND r.created_at < :last
    AND (r.finished_at IS NULL OR r.finished_at >= :mark)
"""
_BEFORE = f"{_OF_PART} AND r.created_at >= :since AND r.created_at < :before"
_AFTER = f"{_OF_PART} AND r.created_at >= :after AND r.created_at < :until"


def _fresh(*parts: str) -> str:
    return f"""
    SELECT s.id AS step, s.type, s.status, coalesce(s.error_code, '') AS error_code, {MEASURES}
    FROM ({" UNION ALL ".join(parts)}) AS r JOIN run_steps s ON s.run_id = r.id
    WHERE {ONCE} GROUP BY 1, 2, 3, 4
    """  # noqa: S608 - constants of this module


@dataclass
class StepFigures:
    """What became of the steps of one id, over all runs and iterations.

    `by_status` counts each of them; `started` are those whose guard let them begin, `retried`
    those that needed more than one attempt, `retries` are the further attempts. `errors` are
    counted by code, also of steps that went on in spite of them.
    """

    step: str
    type: str
    by_status: dict[str, int] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    steps: int = 0
    started: int = 0
    retried: int = 0
    retries: int = 0
    timed: int = 0
    duration_ms: int = 0

    @property
    def mean_ms(self) -> float | None:
        """The mean time from a step's beginning to its end; None where none has ended."""
        return self.duration_ms / self.timed if self.timed else None


async def of_steps(session: AsyncSession, scope: Scope) -> list[StepFigures]:
    """Count the steps of the scope's runs, by id and type in alphabetical order.

    Exact at every moment. Days that are over come from `analytics_step_days`; call
    `analytics.prepare` first, so that both halves are of one moment.
    """
    mark = await rolled_until(session, scope.workspace)
    first = _ceiling(scope.since)
    last = max(first, midnight(scope.until.astimezone(UTC).date()))
    common = {
        "workspace": scope.workspace,
        "definition": scope.definition,
        "version": scope.version,
    }
    whole = {**common, "first": first.date(), "last": last.date()}
    fresh = {**common, "first": first, "last": last, "mark": mark}
    parts = [_OPEN]
    if scope.since < first:
        parts.append(_BEFORE)
        fresh |= {"since": scope.since, "before": min(first, scope.until)}
    if last < scope.until:
        parts.append(_AFTER)
        fresh |= {"after": max(last, scope.since), "until": scope.until}
    found: dict[tuple[str, str], StepFigures] = {}
    for row in [*await rows(session, _KEPT, whole), *await rows(session, _fresh(*parts), fresh)]:
        key = (row["step"], row["type"])
        _add(found.setdefault(key, StepFigures(*key)), row)
    return [found[key] for key in sorted(found)]


def _add(figures: StepFigures, row: dict[str, Any]) -> None:
    count = row["steps"]
    figures.by_status[row["status"]] = figures.by_status.get(row["status"], 0) + count
    if row["error_code"]:
        figures.errors[row["error_code"]] = figures.errors.get(row["error_code"], 0) + count
    for name in _MEASURES:
        setattr(figures, name, getattr(figures, name) + int(row[name]))


def _ceiling(moment: datetime) -> datetime:
    start = midnight(moment.astimezone(UTC).date())
    return start if start == moment else start + _DAY
