"""What decides, in one transaction, whether a mail is sent: its row, suppressions, the cap."""

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
import sqlalchemy as sa

from activities.errors import ActionError
from db import connections, leads, mail_messages, suppressions
from db.mail_messages import MailMessage, MailState
from db.suppressions import SuppressionReason
from tests.integration.activities.conftest import Step
from tests.kit.mailing import KEYRING, an_address, connect, row_of, send, withhold
from tests.servers.smtp_server import RudeSmtp

if TYPE_CHECKING:
    from db.engine import Database
    from dev.mailbox import Mailbox


async def test_a_sent_mail_has_a_row(
    step: Step, ada: leads.Lead, smtp: "Mailbox", database: "Database"
) -> None:
    context = step(ada)
    result = await send(context, ada.email)
    row = await row_of(database, context)
    assert row.state is MailState.SENT
    assert (row.attempts, row.subject, row.error) == (1, "Hello", None)
    assert row.to_address == ada.email.lower()
    assert row.message_id == result.message_id == smtp.messages[0].message_id
    assert row.result == result.model_dump(mode="json")
    assert row.sent_at is not None
    assert row.claimed_at is not None
    assert row.claimed_at <= row.sent_at
    assert row.lead_id == ada.id


async def test_without_a_lead_too_a_sent_mail_is_not_sent_again(
    step: Step, smtp: "Mailbox"
) -> None:
    context, to = step(), an_address()
    first = await send(context, to)
    again = await send(replace(context, attempt=2), to, subject="Other")
    assert again == first.model_copy(update={"already_sent": True})
    assert len(smtp.messages) == 1


async def test_a_claim_that_was_never_closed_is_sent_again(
    step: Step, smtp: "Mailbox", database: "Database"
) -> None:
    context, to = step(), an_address()
    await send(context, to)
    async with database.session() as session:
        change = sa.update(MailMessage).values(state=MailState.SENDING, result=None)
        await session.exec(change.where(sa.column("step_key") == context.step.key))
    again = await send(replace(context, attempt=2), to)
    assert not again.already_sent
    first, second = smtp.messages
    assert first.message_id == second.message_id
    assert (await row_of(database, context)).attempts == 2


async def test_a_message_id_outlives_a_change_of_the_sender(
    step: Step, smtp: "Mailbox", database: "Database"
) -> None:
    context, to = step(), an_address()
    smtp.refuse = lambda _: "450 later"
    with pytest.raises(ActionError):
        await send(context, to)
    smtp.refuse = None
    name = await connect(database, smtp.port)
    result = await send(replace(context, attempt=2), to, connection=name)
    assert result.message_id.endswith("@example.com>")
    assert str(smtp.messages[0].message["from"]) == "News <news@news.example>"


async def test_a_suppressed_recipient_gets_nothing(
    step: Step, smtp: "Mailbox", database: "Database"
) -> None:
    context, to = step(), an_address()
    await withhold(database, to)
    result = await send(context, to.upper())
    assert (result.suppressed, result.accepted) == (True, [])
    assert result.left_out == [to.upper().replace("EXAMPLE.COM", "example.com")]
    assert smtp.messages == []
    assert (await row_of(database, context)).state is MailState.SUPPRESSED
    async with database.session() as session:
        await suppressions.remove(session, "default", to)
    assert await send(replace(context, attempt=2), to) == result
    assert smtp.messages == []


async def test_suppressed_copies_are_left_out(
    step: Step, smtp: "Mailbox", database: "Database"
) -> None:
    to, gone, copy, blind = (an_address() for _ in range(4))
    await withhold(database, gone, copy, blind)
    result = await send(step(), [gone, to], cc=copy, bcc=[blind])
    (mail,) = smtp.messages
    assert mail.recipients == [to] == result.accepted == result.to
    assert not any(one in mail.message.as_string() for one in (gone, copy, blind))
    assert sorted(result.left_out) == sorted([gone, copy, blind])
    assert not result.suppressed


async def test_another_workspace_suppresses_for_itself(
    step: Step, smtp: "Mailbox", database: "Database"
) -> None:
    to = an_address()
    async with database.session() as session:
        await suppressions.add(session, "other", to, SuppressionReason.MANUAL, source="test")
    assert (await send(step(), to)).accepted == [to]
    assert len(smtp.messages) == 1


async def test_failures_are_kept(step: Step, database: "Database") -> None:
    async with RudeSmtp() as rude:
        name = await connect(database, rude.port)
        states: dict[str, MailState] = {}
        for reply in ("450 later", "550 no", "drop"):
            rude.replies = {"body" if reply == "drop" else "MAIL": reply}
            context = step()
            with pytest.raises(ActionError):
                await send(context, an_address(), connection=name)
            row = await row_of(database, context)
            assert row.error
            states[reply] = row.state
    assert states == {
        "450 later": MailState.WAITING,
        "550 no": MailState.FAILED,
        "drop": MailState.SENDING,
    }


async def test_a_lead_gets_no_more_than_the_cap(
    step: Step, ada: leads.Lead, smtp: "Mailbox", database: "Database"
) -> None:
    name = await connect(database, smtp.port, per_lead={"count": 2, "per": "7d"})
    contexts = [step(ada) for _ in range(6)]
    results = await asyncio.gather(
        *(send(context, ada.email, connection=name) for context in contexts)
    )
    assert sorted(one.capped for one in results) == [False] * 2 + [True] * 4
    assert len(smtp.messages) == 2
    states = [(await row_of(database, context)).state for context in contexts]
    assert states.count(MailState.CAPPED) == 4
    async with database.session() as session:
        past = sa.func.now() - sa.text("interval '8 days'")
        await session.exec(
            sa.update(MailMessage)
            .where(sa.column("lead_id") == ada.id)
            .values(claimed_at=past, sent_at=past)
        )
    assert not (await send(step(ada), ada.email, connection=name)).capped


async def test_a_connection_that_sends_no_mail(step: Step, database: "Database") -> None:
    name = f"imap-{uuid4().hex[:8]}"
    async with database.session() as session:
        await connections.put(
            session,
            "default",
            name,
            kind="imap",
            config={"host": "127.0.0.1", "username": "x"},
            secrets={"password": "hush-hush"},
            keyring=KEYRING,
        )
    for wrong, said in ((name, "of kind imap"), ("no-such-one", "there is no connection")):
        with pytest.raises(ActionError, match=said) as caught:
            await send(step(), an_address(), connection=wrong)
        assert (caught.value.code, caught.value.retryable) == ("INVALID_INPUT", False)


async def test_a_tracking_id_names_one_mail(
    step: Step, smtp: "Mailbox", database: "Database"
) -> None:
    context = step()
    result = await send(context, an_address())
    row = await row_of(database, context)
    async with database.session() as session:
        found = await mail_messages.by_tracking_id(session, row.tracking_id)
        same = await mail_messages.by_message_id(session, "default", result.message_id)
        assert found is not None
        assert same is not None
        assert found.id == same.id == row.id
        assert await mail_messages.by_tracking_id(session, "unknown") is None
