"""The readout of an A/B split: runs and conversions of each variant, with intervals."""

from dataclasses import dataclass
from math import sqrt
from typing import Literal

from sqlmodel.ext.asyncio.session import AsyncSession

from db.analytics import OF_RUNS, Scope, rows

Goal = Literal["completed", "replied", "booked", "clicked", "opened"]
# The 97.5th percentile of the standard normal distribution: 95 % between both ends.
_Z = 1.959963984540054

_ASSIGNED = f"""
WITH chosen AS (
    SELECT s.run_id, s.choice, min(s.started_at) AS at FROM run_steps s
    WHERE s.workspace = :workspace AND s.id = :step AND s.type = 'split' AND s.choice IS NOT NULL
    GROUP BY 1, 2
), assigned AS (
    SELECT chosen.choice, chosen.at, r.status, r.lead_id, r.finished_at
    FROM chosen JOIN runs r ON r.id = chosen.run_id WHERE {OF_RUNS}
)
"""  # noqa: S608 - constants of this module
_COMPLETED = f"""
{_ASSIGNED}
SELECT choice AS variant, count(*) AS runs, count(*) FILTER (WHERE finished_at IS NULL) AS open,
    count(*) FILTER (WHERE status = 'completed') AS conversions
FROM assigned GROUP BY 1 ORDER BY 1
"""  # noqa: S608 - constants of this module
_HAPPENED = f"""
{_ASSIGNED}, happened AS (
    SELECT lead_id, max(at) AS last FROM lead_events
    WHERE workspace = :workspace AND kind = :goal AND at >= :since GROUP BY 1
)
SELECT choice AS variant, count(*) AS runs, count(*) FILTER (WHERE finished_at IS NULL) AS open,
    count(*) FILTER (WHERE happened.last >= assigned.at) AS conversions
FROM assigned LEFT JOIN happened ON happened.lead_id = assigned.lead_id GROUP BY 1 ORDER BY 1
"""  # noqa: S608 - constants of this module


@dataclass(frozen=True)
class VariantFigures:
    """Runs that were given a variant, how many of them are open, and how many reached the goal."""

    variant: str
    runs: int
    open: int
    conversions: int

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the rate of conversion."""
        return wilson(self.conversions, self.runs)


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Give the 95 % score interval of a proportion; (0, 1) where nothing was tried.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal
    of the American Statistical Association 22 (1927), pages 209-212; without correction for
    continuity.
    """
    if trials == 0:
        return 0.0, 1.0
    share, square = successes / trials, _Z * _Z
    centre = (share + square / (2 * trials)) / (1 + square / trials)
    spread = share * (1 - share) / trials + square / (4 * trials * trials)
    half = _Z / (1 + square / trials) * sqrt(spread)
    return max(0.0, centre - half), min(1.0, centre + half)


async def of_split(
    session: AsyncSession, scope: Scope, step: str, goal: Goal
) -> list[VariantFigures]:
    """Read out the split `step`, by variant; an unknown step has none.

    `completed`: the run completed. Any other goal: the run's lead did that at or after the moment
    at which the variant was chosen.
    """
    given = {**scope.parameters, "step": step}
    # A plan that looks runs up one by one: PostgreSQL takes the splits of a step for a few.
    await rows(session, "SELECT set_config('enable_nestloop', 'off', true)", {})
    if goal == "completed":
        found = await rows(session, _COMPLETED, given)
    else:
        found = await rows(session, _HAPPENED, {**given, "goal": goal})
    return [VariantFigures(**row) for row in found]
