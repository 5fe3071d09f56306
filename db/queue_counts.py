"""How many runs of each definition are where: queued, delayed, running, waiting, failed."""

from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa
from sqlmodel.ext.asyncio.session import AsyncSession

from db.base import now
from db.run_table import WAITING_SQL

FAILED_WITHIN = timedelta(hours=24)
_WHOLE = "(parent_path IS NULL OR parent_path NOT LIKE '%]')"
_OPEN = sa.text(f"""
SELECT definition,
    count(*) FILTER (WHERE {WAITING_SQL.text} AND due_at <= :now) AS queued,
    count(*) FILTER (WHERE {WAITING_SQL.text} AND due_at > :now) AS delayed,
    count(*) FILTER (WHERE status = 'queued' AND NOT ({WAITING_SQL.text})) AS starting,
    count(*) FILTER (WHERE status = 'running') AS running,
    count(*) FILTER (WHERE status = 'waiting') AS waiting,
    count(*) FILTER (WHERE status = 'paused') AS paused,
    count(*) FILTER (WHERE status = 'compensating') AS compensating
FROM runs
WHERE status IN ('queued', 'running', 'waiting', 'paused', 'compensating')
    AND workspace = :workspace AND {_WHOLE}
GROUP BY 1
""")  # noqa: S608 - constants of this module
_FAILED = sa.text(f"""
SELECT definition, count(*) AS failed FROM runs
WHERE workspace = :workspace AND finished_at >= :since AND status IN ('failed', 'timed_out')
    AND {_WHOLE}
GROUP BY 1
""")  # noqa: S608 - constants of this module


@dataclass
class QueueCounts:
    """Runs of one definition now; `failed` and timed out ones of the last 24 hours.

    `queued` are due and wait for a slot, `delayed` are due later, `starting` are on their way to
    Temporal. The others are named as their statuses.
    """

    definition: str
    queued: int = 0
    delayed: int = 0
    starting: int = 0
    running: int = 0
    waiting: int = 0
    paused: int = 0
    compensating: int = 0
    failed: int = 0

    @property
    def open(self) -> int:
        """Runs that began and have not ended."""
        return self.running + self.waiting + self.paused + self.compensating


async def queue_counts(session: AsyncSession, workspace: str) -> list[QueueCounts]:
    """Count the runs of each definition that has open or lately failed ones, by name."""
    connection = await session.connection()
    present = now()
    found: dict[str, QueueCounts] = {}
    for row in (
        await connection.execute(_OPEN, {"workspace": workspace, "now": present})
    ).mappings():
        found[row["definition"]] = QueueCounts(**row)
    given = {"workspace": workspace, "since": present - FAILED_WITHIN}
    for row in (await connection.execute(_FAILED, given)).mappings():
        name = row["definition"]
        found.setdefault(name, QueueCounts(name)).failed = row["failed"]
    return [found[name] for name in sorted(found)]
