"""The rate of a connection: places that mails hold, given out by the database's clock."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
import sqlalchemy as sa

from activities.errors import ActionError, NotYetError
from db import mail_rates
from db.mail_messages import MailMessage, MailState
from schemas.mail import MailPolicy
from tests.integration.activities.conftest import Step
from tests.kit.mailing import an_address, connect, row_of, send
from tests.servers.smtp_server import RudeSmtp

if TYPE_CHECKING:
    from db.engine import Database
    from dev.mailbox import Mailbox


async def test_places_in_a_rate_are_apart_and_never_given_twice(
    database: "Database",
) -> None:
    connection = f"rate-{uuid4().hex[:8]}"

    async def place() -> mail_rates.Slot:
        async with database.session() as session:
            return await mail_rates.reserve(session, "default", connection, interval=1.2)

    found = sorted(await asyncio.gather(*(place() for _ in range(30))), key=lambda one: one.at)
    gaps = [(later.at - earlier.at).total_seconds() for earlier, later in pairwise(found)]
    assert found[0].wait == 0
    assert all(gap == pytest.approx(1.2, abs=1e-5) for gap in gaps[1:])
    assert found[-1].wait == pytest.approx(29 * 1.2, abs=1.5)


async def test_a_burst_leaves_at_once(database: "Database") -> None:
    connection = f"rate-{uuid4().hex[:8]}"
    waits: list[float] = []
    for _ in range(8):
        async with database.session() as session:
            slot = await mail_rates.reserve(session, "default", connection, interval=10.0, burst=5)
            waits.append(slot.wait)
    assert waits[:5] == [0] * 5
    assert waits[5:] == [pytest.approx(10.0 * n, abs=1) for n in (1, 2, 3)]


async def test_a_mail_holds_its_place(step: Step, smtp: "Mailbox", database: "Database") -> None:
    name = await connect(database, smtp.port, rate_per_minute=60)
    to = an_address()
    await send(step(), to, connection=name)
    context = step()
    with pytest.raises(NotYetError) as first:
        await send(context, to, connection=name)
    held = (await row_of(database, context)).slot_at
    behind = step()
    with pytest.raises(NotYetError) as other:
        await send(behind, to, connection=name)
    assert 0 < first.value.seconds <= 1.05
    assert 0 < other.value.seconds <= 2.1
    # Their places lie a place apart, however long the sends themselves took.
    after = (await row_of(database, behind)).slot_at
    assert held is not None
    assert after is not None
    assert (after - held).total_seconds() == pytest.approx(62.5 / 60, abs=0.01)
    assert (first.value.code, first.value.retryable) == ("RATE_LIMITED", True)
    assert "60 mails a minute" in first.value.message
    assert len(smtp.messages) == 1
    row = await row_of(database, context)
    assert (row.state, row.attempts, row.slot_at) == (MailState.WAITING, 0, held)
    async with asyncio.timeout(180):
        while len(smtp.messages) < 2:
            with suppress(NotYetError):
                await send(replace(context, attempt=2), to, connection=name)
            await asyncio.sleep(0.05)
    assert smtp.messages[1].received_at >= held - timedelta(seconds=0.3)
    assert (await row_of(database, context)).slot_at is None


async def test_a_place_that_is_long_past_is_given_up(
    step: Step, smtp: "Mailbox", database: "Database"
) -> None:
    name = await connect(database, smtp.port, rate_per_minute=1)
    to = an_address()
    await send(step(), to, connection=name)
    context = step()
    with pytest.raises(NotYetError):
        await send(context, to, connection=name)
    async with database.session() as session:
        past = sa.func.now() - sa.text("interval '1 minute'")
        change = sa.update(MailMessage).values(slot_at=past)
        await session.exec(change.where(sa.column("step_key") == context.step.key))
    with pytest.raises(NotYetError) as again:
        await send(replace(context, attempt=2), to, connection=name)
    assert again.value.seconds > 60


async def test_a_failed_send_takes_the_next_place_at_once(step: Step, database: "Database") -> None:
    async with RudeSmtp() as rude:
        rude.replies = {"MAIL": "450 later"}
        name = await connect(database, rude.port, rate_per_minute=60)
        context = step()
        with pytest.raises(ActionError) as failed:
            await send(context, an_address(), connection=name)
    assert failed.value.retry_after is not None
    assert 0.5 < failed.value.retry_after <= 1.05
    assert (await row_of(database, context)).slot_at is not None


async def test_the_configured_server_has_a_rate_too(
    step: Step, smtp: "Mailbox", database: "Database"
) -> None:
    context = step()
    mail = replace(context.services.mail, policy=MailPolicy(rate_per_minute=1))
    workspace = f"w-{uuid4().hex[:8]}"
    limited = replace(
        context,
        services=replace(context.services, mail=mail),
        step=context.step.model_copy(update={"workspace": workspace}),
    )
    to = an_address()
    await send(limited, to)
    step_two = limited.step.model_copy(update={"path": "second"})
    with pytest.raises(NotYetError, match="the mail server sends at most 1 mails"):
        await send(replace(limited, step=step_two), to)
    assert len(smtp.messages) == 1
