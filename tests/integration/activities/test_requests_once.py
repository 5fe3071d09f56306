"""HTTP requests with `delivery: at_most_once`, through the ledger that all such actions share."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from sqlmodel import select
from temporalio.exceptions import ApplicationError

from activities._effects import idempotency_key
from activities.execution import attempt
from activities.registry import load
from activities.services import Services
from db import deliveries
from db.dead_letter_table import DeadLetter
from db.deliveries import Delivery, DeliveryState
from db.ids import new_id
from dev.ports import any_port
from schemas.actions import StepContext
from tests.servers.wire import Received, WireServer, respond

if TYPE_CHECKING:
    from db.engine import Database

REGISTRY = load()


@dataclass
class Shop:
    """Answers each order with the next of `answers`: a status, or what becomes of the line."""

    answers: list[int | str] = field(default_factory=list)

    async def __call__(self, request: Received, writer: asyncio.StreamWriter) -> None:
        answer = self.answers.pop(0) if self.answers else 201
        if answer == "drop":
            writer.close()
        elif answer == "hang":
            await asyncio.Event().wait()
        elif answer == "half":
            writer.write(b"HTTP/1.1 201 Said\r\ncontent-length: 100\r\n\r\n{")
        elif answer == "garbage":
            respond(writer, 201, b"{", {"content-type": "application/json"})
        else:
            assert isinstance(answer, int)
            respond(writer, answer, b'{"id": 7}', {"content-type": "application/json"})


@dataclass
class Order:
    """One step that orders something."""

    services: Services
    url: str
    step: StepContext
    timeout: float = 2.0

    async def try_it(self, number: int = 1) -> Any:
        params = {"method": "POST", "url": self.url, "json": {"n": 1}}
        told = self.step.model_dump(mode="json", exclude_defaults=True)
        timeout = timedelta(seconds=self.timeout)
        call = attempt(
            REGISTRY.get("http"), self.services, params, told, number=number, timeout=timeout
        )
        return (await asyncio.create_task(call))["result"]

    async def fails(self, number: int = 1) -> ApplicationError:
        with pytest.raises(ApplicationError) as caught:
            await self.try_it(number)
        return caught.value

    async def row(self, database: "Database") -> Delivery | None:
        async with database.session() as session:
            return await session.get(Delivery, self.step.key)


def order(services: Services, url: str) -> Order:
    step = StepContext(
        workspace="default", definition="test", run_id=new_id(), path="order", once=True
    )
    return Order(services, url, step)


async def letters(database: "Database", run_id: str) -> list[DeadLetter]:
    async with database.session() as session:
        found = select(DeadLetter).where(DeadLetter.run_id == run_id)
        return list((await session.exec(found)).all())


async def test_what_was_answered_is_not_asked_again(
    services: Services, database: "Database"
) -> None:
    async with WireServer(Shop()) as server:
        one = order(services, server.url)
        first = await one.try_it()
        assert await one.try_it(2) == first
        assert first["body"] == {"id": 7}
        (request,) = server.requests
    key = idempotency_key(one.step.key)
    assert request.headers["idempotency-key"] == key
    row = await one.row(database)
    assert row is not None
    assert (row.state, row.attempts, row.action, row.reference) == ("sent", 1, "http", key)


@pytest.mark.parametrize("answer", [500, 502, 504, 408, 302, "drop", "hang", "half", "garbage"])
async def test_what_may_have_been_done_is_parked(
    services: Services, database: "Database", answer: int | str
) -> None:
    async with WireServer(Shop([answer])) as server:
        one = order(services, server.url)
        for number in (1, 2, 3):
            error = await one.fails(number)
            assert (error.type, error.non_retryable) == ("DELIVERY_UNKNOWN", True)
            assert error.details[0]["reference"] == idempotency_key(one.step.key)
        assert len(server.requests) == 1
    row = await one.row(database)
    assert row is not None
    assert (row.state, row.attempts) == (DeliveryState.UNKNOWN, 1)
    (letter,) = await letters(database, one.step.run_id)
    assert (letter.kind, letter.subject_id, letter.message) == ("send", row.id, error.message)


@pytest.mark.parametrize(
    ("answer", "final"), [(503, False), (429, False), (400, True), (422, True)]
)
async def test_what_was_not_done_may_be_tried_again(
    services: Services, database: "Database", answer: int, final: bool
) -> None:
    async with WireServer(Shop([answer])) as server:
        one = order(services, server.url)
        error = await one.fails()
        assert (error.type, error.non_retryable) == ("HTTP_ERROR", final)
        row = await one.row(database)
        assert row is not None
        assert (row.state, row.error) == (DeliveryState.FAILED, error.message)
        assert (await one.try_it(2))["status"] == 201
        assert len(server.requests) == 2
    row = await one.row(database)
    assert row is not None
    assert (row.state, row.attempts) == (DeliveryState.SENT, 2)
    assert await letters(database, one.step.run_id) == []


async def test_who_is_not_reached_has_done_nothing(
    services: Services, database: "Database"
) -> None:
    one = order(services, f"http://127.0.0.1:{any_port()}")
    error = await one.fails()
    assert (error.type, error.non_retryable) == ("HTTP_ERROR", False)
    # The last of the step's four attempts: Temporal's one more is for lost workers.
    assert (await one.fails(4)).non_retryable
    row = await one.row(database)
    assert row is not None
    assert (row.state, row.attempts) == (DeliveryState.FAILED, 2)


async def test_a_lost_worker_leaves_a_claim(services: Services, database: "Database") -> None:
    async with WireServer(Shop()) as server:
        for number in (2, 5):
            one = order(services, server.url)
            await one.try_it()
            async with database.session() as session:
                change = sa.update(Delivery).values(state=DeliveryState.SENDING, result=None)
                await session.exec(change.where(sa.column("step_key") == one.step.key))
            error = await one.fails(number)
            assert error.type == "DELIVERY_UNKNOWN"
            assert "an earlier attempt was lost" in error.message
        assert len(server.requests) == 2
        # Lost before it had begun, and no attempt is left.
        one = order(services, server.url)
        error = await one.fails(5)
        assert (error.type, error.non_retryable) == ("STEP_TIMEOUT", True)
        assert len(server.requests) == 2


async def test_what_was_decided_counts(services: Services, database: "Database") -> None:
    async with WireServer(Shop([500, "drop", 201])) as server:
        one = order(services, server.url)
        await one.fails()
        for sent in (False, True):
            async with database.session() as session:
                (letter,) = await letters(database, one.step.run_id)
                assert await deliveries.decide(
                    session, letter.subject_id, sent=sent, output={"status": 201}
                )
            if not sent:
                assert (await one.fails()).type == "DELIVERY_UNKNOWN"
                assert len(server.requests) == 2
        assert await one.try_it() == {
            "status": 201,
            "headers": None,
            "body": None,
            "url": None,
            "delivery": "marked_sent",
        }
        assert len(server.requests) == 2


async def test_of_two_attempts_at_once_one_sends(services: Services, database: "Database") -> None:
    async with WireServer(Shop(["hang"])) as server:
        one = order(services, server.url)
        one.timeout = 6.0
        late = asyncio.create_task(one.fails())
        async with asyncio.timeout(10):
            while not server.requests:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert (await one.fails(2)).type == "DELIVERY_UNKNOWN"
        assert (await late).type == "DELIVERY_UNKNOWN"
        assert len(server.requests) == 1
    assert len(await letters(database, one.step.run_id)) == 1
