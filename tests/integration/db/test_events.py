"""Events in PostgreSQL: stored once, matched under one lock, delivered until it is noted."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlmodel import col, select, update

from db import events, projection, runs
from db.base import now
from db.engine import Database
from db.event_tables import EventDelivery, EventWait
from db.ids import new_id
from db.pages import encode_cursor
from schemas.errors import InputError, LimitError
from schemas.events import PAGE_EVENTS, NewEvent
from schemas.run import Projection, RunStatus, StepRecord, StepStatus


def an_event(number: int = 1, *, kind: str = "paid", key: str = "k", **more: Any) -> NewEvent:
    values = {"id": f"e{number}", "source": "test", "data": {"n": number}, "time": now(), **more}
    return NewEvent(type=kind, key=key, **values)


def interest(workspace: str, run_id: str, path: str = "w", **more: Any) -> events.Interest:
    values = {"type": "paid", "key": "k", "since": now() - timedelta(hours=1), **more}
    return events.Interest(
        workspace=workspace,
        run_id=run_id,
        workflow_id=f"{workspace}/flow/{run_id}",
        path=path,
        step=path,
        **values,
    )


async def tell(database: Database, workspace: str, event: NewEvent) -> events.Published:
    async with database.session() as session:
        return await events.publish(session, workspace, event)


async def ask(database: Database, asked: events.Interest) -> list[int]:
    async with database.session() as session:
        return [event.data["n"] for event in await events.subscribe(session, asked)]


async def open_waits(database: Database, run_id: str) -> list[str]:
    statement = select(EventWait.path).where(EventWait.run_id == run_id, col(EventWait.open))
    async with database.session() as session:
        return sorted((await session.exec(statement)).all())


async def test_an_event_is_stored_once(database: Database, workspace: str) -> None:
    await ask(database, interest(workspace, "r1"))
    first = await tell(database, workspace, an_event())
    assert (first.matched, first.started, first.duplicate) == (1, 0, False)
    again = await tell(database, workspace, an_event(data={"other": True}))
    assert (again.matched, again.duplicate, again.deliveries) == (1, True, [])
    other = await tell(database, workspace, an_event(source="another"))
    assert not other.duplicate
    elsewhere = await tell(database, f"{workspace}-2", an_event())
    assert (elsewhere.matched, elsewhere.duplicate) == (0, False)


async def test_before_during_and_after_the_wait(database: Database, workspace: str) -> None:
    before = await tell(database, workspace, an_event(1))
    assert before.matched == 0
    assert await ask(database, interest(workspace, "r1")) == [1]
    after = await tell(database, workspace, an_event(2))
    assert [delivery.run_id for delivery in after.deliveries] == ["r1"]
    # Asking again, as a re-entered step does, gives what came since, in the order of receipt.
    assert await ask(database, interest(workspace, "r1")) == [1, 2]
    assert await ask(database, interest(workspace, "r1", key="other")) == []


async def test_only_what_the_run_has_not_received(database: Database, workspace: str) -> None:
    for number in range(5):
        await tell(database, workspace, an_event(number))
    async with database.session() as session:
        page = await events.subscribe(session, interest(workspace, "r1"))
    assert [event.data["n"] for event in page] == [0, 1, 2, 3, 4]
    assert sorted(event.seq or 0 for event in page) == [event.seq for event in page]
    assert await ask(database, interest(workspace, "r1", after=page[2].seq)) == [3, 4]
    assert await ask(database, interest(workspace, "r2", since=now())) == []


async def test_the_run_counts_from_its_row(database: Database, workspace: str) -> None:
    await tell(database, workspace, an_event(1))
    async with database.session() as session:
        run = await runs.insert_queued(session, workspace, definition="flow", version=1, input={})
    await tell(database, workspace, an_event(2))
    later = now() + timedelta(days=3)
    assert await ask(database, interest(workspace, run.id, since=later)) == [2]


async def test_pages_have_a_limit(database: Database, workspace: str) -> None:
    async with database.session() as session:
        for number in range(3):
            large = an_event(number, data={"n": number, "text": "x" * 200_000})
            await events.publish(session, workspace, large)
    assert await ask(database, interest(workspace, "r1")) == [0, 1]
    async with database.session() as session:
        for number in range(PAGE_EVENTS + 1):
            await events.publish(session, workspace, an_event(number, id=f"s{number}", key="many"))
    asked = interest(workspace, "r1", key="many")
    assert await ask(database, asked) == list(range(PAGE_EVENTS))


async def test_a_run_gets_an_event_once_however_many_steps_wait(
    database: Database, workspace: str
) -> None:
    for path in ("a", "b", "each[1].c"):
        await ask(database, interest(workspace, "r1", path))
    await ask(database, interest(workspace, "r2"))
    told = await tell(database, workspace, an_event())
    assert sorted(delivery.run_id for delivery in told.deliveries) == ["r1", "r2"]


async def test_data_have_a_limit(database: Database, workspace: str) -> None:
    with pytest.raises(LimitError, match="262144"):
        await tell(database, workspace, an_event(data="x" * 270_000))


def projected(workspace: str, run_id: str, seq: int, *steps: StepRecord, **more: Any) -> Projection:
    values = {"status": RunStatus.RUNNING, **more}
    return Projection(workspace=workspace, run_id=run_id, seq=seq, steps=list(steps), **values)


async def test_waits_end_with_their_step_and_with_the_run(
    database: Database, workspace: str
) -> None:
    async with database.session() as session:
        run = await runs.insert_queued(session, workspace, definition="flow", version=1, input={})

    async def project(one: Projection) -> None:
        async with database.session() as session:
            assert await projection.project(await session.connection(), one)

    for path in ("a", "b", "c", "run.goal"):
        await ask(database, interest(workspace, run.id, path))
    waiting = StepRecord(path="b", id="b", type="wait", status=StepStatus.WAITING)
    done = StepRecord(path="a", id="a", type="wait", status=StepStatus.COMPLETED)
    await project(projected(workspace, run.id, 1, done, waiting))
    assert await open_waits(database, run.id) == ["b", "c", "run.goal"]
    other = StepRecord(path="c", id="c", type="delay", status=StepStatus.COMPLETED)
    await project(projected(workspace, run.id, 2, other))
    assert await open_waits(database, run.id) == ["b", "c", "run.goal"]
    # A step that runs again asks again.
    await ask(database, interest(workspace, run.id, "a"))
    assert await open_waits(database, run.id) == ["a", "b", "c", "run.goal"]
    await project(projected(workspace, run.id, 3, status=RunStatus.COMPLETED))
    assert await open_waits(database, run.id) == []
    # A worker that was given up may still be about to ask.
    assert await ask(database, interest(workspace, run.id)) == []
    assert (await tell(database, workspace, an_event())).matched == 0


async def test_waits_end_with_a_run_that_could_not_say_so(
    database: Database, workspace: str
) -> None:
    async with database.session() as session:
        run = await runs.insert_queued(session, workspace, definition="flow", version=1, input={})
    await ask(database, interest(workspace, run.id))
    async with database.session() as session:
        await runs.close(session, workspace, run.id, RunStatus.TERMINATED)
    assert await open_waits(database, run.id) == []


async def test_deliveries_are_due_until_they_are_noted(database: Database, workspace: str) -> None:
    for run_id in ("r1", "r2"):
        await ask(database, interest(workspace, run_id))
    told = await tell(database, workspace, an_event())
    mine = {delivery.workflow_id for delivery in told.deliveries}

    async def claim() -> list[events.Delivery]:
        async with database.session() as session:
            found = (await events.claim_due(session)).deliveries
            return [delivery for delivery in found if delivery.workflow_id in mine]

    async def let_time_pass() -> None:
        async with database.session() as session:
            await session.exec(update(EventDelivery).values(due_at=now() - timedelta(seconds=1)))

    assert await claim() == []
    await let_time_pass()
    claimed = await claim()
    assert [delivery.run_id for delivery in claimed] == ["r1", "r2"]
    assert claimed[0].event.data == {"n": 1}
    assert await claim() == []
    async with database.session() as session:
        await events.mark_delivered(session, claimed[:1])
    await let_time_pass()
    assert [delivery.run_id for delivery in await claim()] == ["r2"]


async def test_events_and_waits_at_random_moments(database: Database, workspace: str) -> None:
    """Each of 1,000 events reaches the run that waits for it exactly once, by one way or other."""
    chance = random.Random(20260731)
    given: dict[str, list[str]] = {f"k{number}": [] for number in range(1000)}
    slots = asyncio.Semaphore(8)

    async def wait(key: str) -> None:
        asked = interest(workspace, f"run-{key}", key=key)
        async with slots, database.session() as session:
            page = await events.subscribe(session, asked)
        given[key] += [f"page {event.id}" for event in page]

    async def publish(key: str) -> None:
        async with slots:
            told = await tell(database, workspace, an_event(id=new_id(), key=key))
        given[key] += [f"signal {delivery.event.id}" for delivery in told.deliveries]

    moments = [(chance.random(), call, key) for key in given for call in (wait, publish)]
    calls = [call(key) for _, call, key in sorted(moments, key=lambda moment: moment[0])]
    # The two of one key also side by side, not only one after the other.
    together = [call for pair in range(300) for call in (wait(f"p{pair}"), publish(f"p{pair}"))]
    given.update({f"p{pair}": [] for pair in range(300)})
    await asyncio.gather(*calls, *together)
    assert {key: len(ways) for key, ways in given.items()} == dict.fromkeys(given, 1)
    ways = [way.split()[0] for got in given.values() for way in got]
    assert min(ways.count("page"), ways.count("signal")) > 100


async def test_pages_of_events(database: Database, workspace: str) -> None:
    for number in range(5):
        await tell(database, workspace, an_event(number, kind="a" if number % 2 else "b"))
    async with database.session() as session:
        first = await events.list_page(session, workspace, limit=3)
        rest = await events.list_page(session, workspace, limit=3, cursor=first.next_cursor)
        some = await events.list_page(session, workspace, kind="a", key="k")
        with pytest.raises(InputError):
            await events.list_page(session, workspace, cursor="nonsense")
        cursor = encode_cursor(datetime.now(UTC), "no number")
        with pytest.raises(InputError):
            await events.list_page(session, workspace, cursor=cursor)
    assert [event.id for event in first.items] == ["e4", "e3", "e2"]
    assert ([event.id for event in rest.items], rest.next_cursor) == (["e1", "e0"], None)
    assert [event.id for event in some.items] == ["e3", "e1"]
