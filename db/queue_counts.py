"""What waits: runs of each definition by where they are, the outbox, and dead letters."""

from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa
from sqlmodel.ext.asyncio.session import AsyncSession

from db.base import now
from db.dead_letter_table import LetterKind
from db.run_table import DUE_SQL, WAITING_SQL
from schemas.run import MAX_EVENT_BYTES, MAX_EVENTS

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
# An event for a run that has had its share waits for that run, not for Temporal.
_OLDEST = sa.text(f"""
SELECT workspace, extract(epoch FROM :now - min(since)) AS age FROM (
    SELECT workspace, admitted_at AS since FROM runs WHERE {DUE_SQL.text}
    UNION ALL
    SELECT events.workspace, received_at FROM event_deliveries
    JOIN events ON events.seq = event_seq
    LEFT JOIN run_quotas ON run_quotas.run_id = event_deliveries.run_id
    WHERE delivered_at IS NULL AND coalesce(run_quotas.events, 0) < {MAX_EVENTS}
        AND coalesce(run_quotas.bytes, 0) < {MAX_EVENT_BYTES}
) AS waiting
GROUP BY workspace
""")  # noqa: S608 - constants of this module
_LETTERS = sa.text("""
SELECT kind, count(*) FROM dead_letters WHERE workspace = :workspace AND state = 'open' GROUP BY 1
""")


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


async def outbox_ages(session: AsyncSession) -> dict[str, float]:
    """Give for how many seconds the oldest start or event has waited to be handed to Temporal.

    By workspace; one for which nothing waits is left out. The session must see all of them.
    """
    rows = await (await session.connection()).execute(_OLDEST, {"now": now()})
    return {workspace: max(0.0, float(age)) for workspace, age in rows}


async def open_letters(session: AsyncSession, workspace: str) -> dict[str, int]:
    """Count the open dead letters of each kind; every kind is there."""
    rows = await (await session.connection()).execute(_LETTERS, {"workspace": workspace})
    return dict.fromkeys(map(str, LetterKind), 0) | {str(kind): count for kind, count in rows}
