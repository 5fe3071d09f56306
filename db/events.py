"""Events: stored once, matched with the runs that wait, and kept until each of them has got it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db import run_quotas
from db.base import now
from db.event_tables import EventDelivery, EventWait, StoredEvent
from db.event_waits import Interest, as_event, close_run, lock_topic, subscribe
from db.pages import DEFAULT_PAGE, decode_cursor, encode_cursor, page_size
from db.triggers import fire
from schemas.errors import InputError
from schemas.events import NewEvent, data_bytes
from schemas.run import Event

__all__ = [
    "Delivery",
    "Due",
    "EventPage",
    "Interest",
    "Published",
    "StoredEvent",
    "claim_due",
    "close_run",
    "list_page",
    "mark_delivered",
    "publish",
    "release",
    "subscribe",
]

# Who publishes delivers at once; after this time whoever looks first does.
LEASE = timedelta(seconds=5)
# How long a delivery is put off whose run has had its share of events.
PUT_OFF = timedelta(seconds=15)


@dataclass(frozen=True)
class Delivery:
    """An event and a run that is to get it."""

    run_id: str
    workflow_id: str
    event: Event


@dataclass(frozen=True)
class Due:
    """Deliveries that were taken; `full` maps runs that get none now to their workflow ids."""

    deliveries: list[Delivery] = field(default_factory=list)
    full: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Published:
    """What became of an event: the runs that it met, and the runs that it starts.

    A `duplicate` changed nothing; its numbers are those of the first time.
    """

    id: str
    matched: int
    started: int
    duplicate: bool = False
    deliveries: list[Delivery] = field(default_factory=list)
    run_ids: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class EventPage:
    """Events, the last received first; `next_cursor` is None on the last page."""

    items: list[StoredEvent]
    next_cursor: str | None


async def publish(
    session: AsyncSession, workspace: str, event: NewEvent, *, correlation_id: str | None = None
) -> Published:
    """Store an event once, and with it what is to be delivered and the runs that it starts.

    To be followed, after the commit, by the delivery; what that leaves undone is due after
    `LEASE`. Raises LimitError for data that are too large.
    """
    event.check_size()
    await lock_topic(session, workspace, event.type, event.key)
    row = StoredEvent(workspace=workspace, **event.model_dump())
    storing = (
        insert(StoredEvent)
        .values(row.model_dump(exclude={"seq"}))
        .on_conflict_do_nothing(index_elements=["workspace", "source", "id"])
        .returning(StoredEvent)
    )
    stored = (await session.exec(storing)).scalars().first()
    if stored is None:
        return await _again(session, workspace, event)
    told = as_event(stored)
    deliveries = await _match(session, stored, told)
    run_ids = await fire(session, workspace, told, correlation_id=correlation_id)
    if deliveries or run_ids:
        stored.matched, stored.started = len(deliveries), len(run_ids)
        session.add(stored)
        await session.flush()
    granted = (await _within_quota(session, deliveries)).deliveries
    return Published(event.id, len(deliveries), len(run_ids), deliveries=granted, run_ids=run_ids)


async def _again(session: AsyncSession, workspace: str, event: NewEvent) -> Published:
    statement = select(StoredEvent).where(
        StoredEvent.workspace == workspace,
        StoredEvent.source == event.source,
        StoredEvent.id == event.id,
    )
    first = (await session.exec(statement)).one()
    return Published(first.id, first.matched, first.started, duplicate=True)


async def _match(session: AsyncSession, stored: StoredEvent, told: Event) -> list[Delivery]:
    """Store one delivery for each run that waits for the event, with however many steps."""
    waits = (
        sa.select(
            sa.literal(stored.seq, sa.BigInteger),
            col(EventWait.run_id),
            col(EventWait.workspace),
            sa.func.min(col(EventWait.workflow_id)),
            sa.func.min(col(EventWait.path)),
            sa.literal(now() + LEASE, sa.DateTime(timezone=True)),
        )
        .where(
            col(EventWait.workspace) == stored.workspace,
            col(EventWait.type) == stored.type,
            col(EventWait.key) == stored.key,
            col(EventWait.open),
        )
        .group_by(col(EventWait.run_id), col(EventWait.workspace))
    )
    columns = ["event_seq", "run_id", "workspace", "workflow_id", "path", "due_at"]
    statement = (
        insert(EventDelivery)
        .from_select(columns, waits)
        .returning(col(EventDelivery.run_id), col(EventDelivery.workflow_id))
    )
    rows = (await (await session.connection()).execute(statement)).all()
    return [Delivery(run_id, workflow_id, told) for run_id, workflow_id in rows]


async def _within_quota(session: AsyncSession, deliveries: list[Delivery]) -> Due:
    """Count deliveries against their runs' quotas, and put off those of runs without any left."""
    sizes = [(each.run_id, data_bytes(each.event.data)) for each in deliveries]
    full = await run_quotas.take(session, sizes)
    if not full:
        return Due(deliveries)
    late = [each for each in deliveries if each.run_id in full]
    places = [(each.event.seq, each.run_id) for each in late]
    statement = (
        sa.update(EventDelivery)
        .where(sa.tuple_(col(EventDelivery.event_seq), col(EventDelivery.run_id)).in_(places))
        .values(due_at=now() + PUT_OFF)
        .execution_options(synchronize_session=False)
    )
    await session.exec(statement)
    return Due(
        [each for each in deliveries if each.run_id not in full],
        {each.run_id: each.workflow_id for each in late},
    )


async def release(session: AsyncSession, run_id: str) -> None:
    """Have a run's deliveries that were put off made now."""
    statement = (
        sa.update(EventDelivery)
        .where(col(EventDelivery.run_id) == run_id, col(EventDelivery.delivered_at).is_(None))
        .values(due_at=now())
        .execution_options(synchronize_session=False)
    )
    await session.exec(statement)


async def claim_due(session: AsyncSession, *, limit: int = 200) -> Due:
    """Take deliveries that are due, the oldest events first; nobody else gets them for `LEASE`.

    Those of runs that have had their share of events are put off.
    """
    due = (
        sa.select(col(EventDelivery.event_seq), col(EventDelivery.run_id))
        .where(col(EventDelivery.delivered_at).is_(None), col(EventDelivery.due_at) <= now())
        .order_by(col(EventDelivery.due_at), col(EventDelivery.event_seq))
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    taking = (
        sa.update(EventDelivery)
        .where(
            col(EventDelivery.event_seq) == due.c.event_seq,
            col(EventDelivery.run_id) == due.c.run_id,
        )
        .values(due_at=now() + LEASE)
        .returning(
            col(EventDelivery.event_seq),
            col(EventDelivery.run_id),
            col(EventDelivery.workflow_id),
        )
    )
    taken = (await (await session.connection()).execute(taking)).all()
    if not taken:
        return Due()
    wanted = select(StoredEvent).where(col(StoredEvent.seq).in_({row[0] for row in taken}))
    events = {event.seq: as_event(event) for event in await session.exec(wanted)}
    found = [
        Delivery(run_id, workflow_id, events[seq]) for seq, run_id, workflow_id in sorted(taken)
    ]
    return await _within_quota(session, found)


async def mark_delivered(session: AsyncSession, deliveries: Sequence[Delivery]) -> None:
    """Note that these runs have got their events, or have ended and need none."""
    if not deliveries:
        return
    places = [(delivery.event.seq, delivery.run_id) for delivery in deliveries]
    statement = (
        sa.update(EventDelivery)
        .where(sa.tuple_(col(EventDelivery.event_seq), col(EventDelivery.run_id)).in_(places))
        .values(delivered_at=now())
        .execution_options(synchronize_session=False)
    )
    await session.exec(statement)


async def list_page(
    session: AsyncSession,
    workspace: str,
    *,
    kind: str | None = None,
    key: str | None = None,
    cursor: str | None = None,
    limit: int = DEFAULT_PAGE,
) -> EventPage:
    """Return a page of events, of a type and a key where given; InputError for a bad cursor."""
    statement = select(StoredEvent).where(StoredEvent.workspace == workspace)
    if kind is not None:
        statement = statement.where(StoredEvent.type == kind)
    if key is not None:
        statement = statement.where(StoredEvent.key == key)
    place = sa.tuple_(col(StoredEvent.received_at), col(StoredEvent.seq))
    if cursor is not None:
        statement = statement.where(place < sa.tuple_(*_place(cursor)))
    statement = statement.order_by(
        col(StoredEvent.received_at).desc(), col(StoredEvent.seq).desc()
    ).limit(page_size(limit) + 1)
    rows: list[Any] = list((await session.exec(statement)).all())
    last = rows[limit - 1] if len(rows) > limit else None
    return EventPage(rows[:limit], encode_cursor(last.received_at, str(last.seq)) if last else None)


def _place(cursor: str) -> tuple[datetime, int]:
    when, seq = decode_cursor(cursor)
    if not (seq.isascii() and seq.isdigit() and len(seq) < 19):
        raise InputError("the cursor is not one that a list has returned", path="cursor")
    return when, int(seq)
