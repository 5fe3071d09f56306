"""Which runs wait for which events: one lock for those who ask and those who tell."""

from datetime import datetime

import sqlalchemy as sa
from pydantic import AwareDatetime, BaseModel, Field
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db.event_tables import EventWait, StoredEvent
from db.locks import lock_key
from db.run_table import Run
from schemas.events import PAGE_EVENTS, EventKey, is_full
from schemas.run import Event, RunStatus
from schemas.step_base import EventType


class Interest(BaseModel):
    """What a run asks for: argument of the activity `subscribe`.

    `after` is the place up to which the run has received the events of this type and key. Events
    count from `since` on, or from the creation of the run's row where that is earlier.
    """

    workspace: str
    run_id: str
    workflow_id: str
    path: str
    step: str
    type: EventType
    key: EventKey
    since: AwareDatetime
    after: int = Field(default=0, ge=0)


async def lock_topic(session: AsyncSession, workspace: str, kind: str, key: str) -> None:
    """Wait for, and hold until the transaction ends, the lock of an event's type and key.

    Under it an event is stored and matched, and a wait is stored and told what came before: of
    the two the second always sees the first.
    """
    statement = sa.text("SELECT pg_advisory_xact_lock(:key)")
    name = f"event:{workspace}\0{kind}\0{key}"
    await (await session.connection()).execute(statement, {"key": lock_key(name)})


async def subscribe(session: AsyncSession, interest: Interest) -> list[Event]:
    """Store a run's wait and give the events since the run's start that it has not received.

    At most one page of them, in the order of receipt. Asking again is harmless; a run that has
    ended gets nothing.
    """
    await lock_topic(session, interest.workspace, interest.type, interest.key)
    row = select(Run.created_at, Run.status).where(
        Run.id == interest.run_id, Run.workspace == interest.workspace
    )
    found = (await session.exec(row)).first()
    since: datetime = interest.since
    if found is not None:
        created_at, status = found
        if RunStatus(status).terminal:
            return []
        since = min(since, created_at)
    wait = EventWait(**interest.model_dump(exclude={"since", "after"}))
    changed = wait.model_dump(include={"step", "workspace", "workflow_id", "type", "key", "open"})
    storing = (
        insert(EventWait)
        .values(wait.model_dump())
        .on_conflict_do_update(index_elements=["run_id", "path"], set_=changed)
    )
    await session.exec(storing)
    statement = (
        select(StoredEvent)
        .where(
            StoredEvent.workspace == interest.workspace,
            StoredEvent.type == interest.type,
            StoredEvent.key == interest.key,
            col(StoredEvent.seq) > interest.after,
            StoredEvent.received_at >= since,
        )
        .order_by(col(StoredEvent.seq))
        .limit(PAGE_EVENTS)
    )
    page: list[Event] = []
    for stored in await session.exec(statement):
        page.append(as_event(stored))
        if is_full(page):
            break
    return page


async def close_run(session: AsyncSession, run_id: str) -> None:
    """Close all waits of a run that has ended."""
    statement = (
        sa.update(EventWait)
        .where(col(EventWait.run_id) == run_id, col(EventWait.open))
        .values(open=False)
        .execution_options(synchronize_session=False)
    )
    await session.exec(statement)


def as_event(stored: StoredEvent) -> Event:
    """Give a stored event as runs see it."""
    return Event.model_validate(stored.model_dump(include=set(Event.model_fields)))
