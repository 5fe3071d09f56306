"""Rows of runs that are gone although Temporal has the runs: which they are, and making them anew.

`seq` is `INCOMPLETE` until the steps of such a row are there again, or the run itself has written.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from db.audit import AuditEntry
from db.base import now
from db.dead_letter_table import DeadLetter, LetterState
from db.flow_keys import keys_of
from db.run_table import Run
from schemas.errors import SojournError
from schemas.run import RunStart, RunStatus

# Below the number of any projection.
INCOMPLETE = -1
_TRIGGER = "trigger:"
# The audit entry of a start is of the transaction that made the row, soon after its id.
_BEFORE, _AFTER = timedelta(seconds=1), timedelta(seconds=10)


@dataclass(frozen=True)
class Stored:
    """What a row says of its run."""

    workspace: str
    status: RunStatus
    seq: int
    finished_at: datetime | None
    updated_at: datetime


async def stored(session: AsyncSession, run_ids: Sequence[str]) -> dict[str, Stored]:
    """Map those of the ids that have a row to what it says; one look into the primary key each."""
    wanted = sa.cast(list(run_ids), ARRAY(sa.String))
    told = list(Stored.__dataclass_fields__)
    statement = sa.select(col(Run.id), *(getattr(Run, name) for name in told)).where(
        col(Run.id) == sa.any_(wanted)
    )
    rows = (await (await session.connection()).execute(statement)).mappings()
    return {row["id"]: Stored(**{name: row[name] for name in told}) for row in rows}


def row_of(
    start: RunStart,
    *,
    status: RunStatus,
    started_at: datetime,
    temporal_run_id: str,
    priority: int,
    parent_path: str | None = None,
    detached: bool = False,
) -> Run:
    """Make the row of a run from its start, as far as that tells.

    It counts as admitted: a run that Temporal has holds a slot of its definition.
    """
    moment = now()
    input: dict[str, Any] = start.input
    if start.batch is not None:
        input = {"offset": start.batch.offset, "count": len(start.batch.items)}
    own = start.parent is None
    ordered_at = _time_of(start.run_id) or started_at
    return Run(
        id=start.run_id,
        workspace=start.workspace,
        definition=start.definition.name,
        version=start.version,
        status=status,
        input=input,
        lead_id=start.lead.id if start.lead else None,
        due_at=ordered_at if own else None,
        admitted_at=started_at if own else None,
        flow_key=_flow_key(start) if own else None,
        rated=own,
        parent_run_id=start.parent,
        parent_path=parent_path,
        detached=detached,
        priority=priority,
        seq=INCOMPLETE,
        workflow_id=start.workflow_id,
        temporal_run_id=temporal_run_id,
        correlation_id=start.correlation_id,
        created_at=min(ordered_at, started_at),
        started_at=started_at,
        updated_at=moment,
        checked_at=moment,
    )


async def insert_anew(session: AsyncSession, run: Run, *, resumed: bool) -> bool:
    """Store the row of a run that has none; False where somebody else has done it.

    What other tables still know of it is taken from them: the dead letter that waits for its end
    (`resumed`: it goes on from that one's run), and the trigger that ordered it.
    """
    connection = await session.connection()
    if run.parent_run_id is None:
        letter = sa.select(col(DeadLetter.id), col(DeadLetter.run_id)).where(
            col(DeadLetter.workspace) == run.workspace,
            col(DeadLetter.state) == LetterState.REDRIVING,
            col(DeadLetter.new_run_id) == run.id,
        )
        before = (await connection.execute(letter.limit(1))).first()
        if before is not None:
            run.redrive_of = before[0]
            run.resumes_from = before[1] if resumed else None
        run.trigger_id = await _trigger_of(session, run)
    inserting = insert(Run).values(run.model_dump()).on_conflict_do_nothing()
    return (await connection.execute(inserting.returning(col(Run.id)))).first() is not None


async def _trigger_of(session: AsyncSession, run: Run) -> str | None:
    statement = sa.select(col(AuditEntry.actor)).where(
        col(AuditEntry.workspace) == run.workspace,
        col(AuditEntry.created_at).between(run.created_at - _BEFORE, run.created_at + _AFTER),
        col(AuditEntry.action) == "run.start",
        col(AuditEntry.subject) == run.id,
        col(AuditEntry.actor).startswith(_TRIGGER),
    )
    actor = (await (await session.connection()).execute(statement.limit(1))).scalar()
    return None if actor is None else actor.removeprefix(_TRIGGER)


def _flow_key(start: RunStart) -> str | None:
    try:
        return keys_of(start.definition.limits, start.input)[0]
    except SojournError:
        # The run was migrated to a version whose key its input does not have.
        return None


def _time_of(run_id: str) -> datetime | None:
    """Give the moment at which an id of `db.ids` was made."""
    try:
        parsed = UUID(run_id)
    except ValueError:
        return None
    if parsed.version != 7:
        return None
    return datetime.fromtimestamp((parsed.int >> 80) / 1000, UTC)
