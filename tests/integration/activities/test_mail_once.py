"""Mails with `delivery: at_most_once`: what is in doubt is parked, what is not is tried again."""

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from sqlmodel import select

from activities.context import ActionContext
from activities.errors import ActionError
from activities.services import Services
from db import deliveries
from db.dead_letter_table import DeadLetter, LetterState
from db.mail_messages import MailMessage, MailState
from schemas.errors import ErrorCode
from tests.integration.activities.conftest import Step
from tests.kit.mailing import an_address, connect, row_of, send
from tests.servers.smtp_server import RudeSmtp

if TYPE_CHECKING:
    from db.engine import Database
    from dev.mailbox import Mailbox


@pytest.fixture
def once(step: Step) -> ActionContext:
    """A step's first attempt."""
    return as_once(step())


def as_once(context: ActionContext, attempt: int = 1) -> ActionContext:
    told = context.step.model_copy(update={"once": True})
    return replace(context, step=told, attempt=attempt)


async def set_state(database: "Database", context: ActionContext, state: MailState) -> None:
    async with database.session() as session:
        change = sa.update(MailMessage).values(state=state, result=None)
        await session.exec(change.where(sa.column("step_key") == context.step.key))


async def letters(database: "Database", context: ActionContext) -> list[DeadLetter]:
    async with database.session() as session:
        found = select(DeadLetter).where(DeadLetter.run_id == context.step.run_id)
        return list((await session.exec(found)).all())


async def test_a_claim_that_was_never_closed_is_parked(
    once: ActionContext, smtp: "Mailbox", database: "Database"
) -> None:
    to = an_address()
    await send(once, to)
    await set_state(database, once, MailState.SENDING)
    for attempt in (2, 3):
        with pytest.raises(ActionError, match="an earlier attempt was lost") as caught:
            await send(as_once(once, attempt), to)
        assert (caught.value.code, caught.value.retryable) == (ErrorCode.DELIVERY_UNKNOWN, False)
    assert len(smtp.messages) == 1
    row = await row_of(database, once)
    assert (row.state, row.attempts) == (MailState.UNKNOWN, 1)
    (letter,) = await letters(database, once)
    assert (letter.kind, letter.subject_id, letter.code) == ("send", row.id, "DELIVERY_UNKNOWN")
    assert (letter.step_path, letter.state) == ("send", LetterState.OPEN)


@pytest.mark.parametrize(
    ("replies", "state"),
    [
        ({"connect": "421 full"}, MailState.WAITING),
        ({"MAIL": "450 later"}, MailState.WAITING),
        ({"RCPT": "drop"}, MailState.WAITING),
        ({"body": "451 not now"}, MailState.WAITING),
        ({"body": "554 spam"}, MailState.FAILED),
        ({"body": "drop"}, MailState.UNKNOWN),
        ({"body": "hang"}, MailState.UNKNOWN),
    ],
    ids=lambda given: "-".join(given) if isinstance(given, dict) else given.value,
)
async def test_only_what_may_have_been_taken_is_parked(
    once: ActionContext,
    smtp: "Mailbox",
    database: "Database",
    replies: dict[str, str],
    state: MailState,
) -> None:
    to = an_address()
    async with RudeSmtp(replies) as rude:
        name = await connect(database, rude.port)
        brief = replace(once, timeout=once.timeout / 4)
        with pytest.raises(ActionError) as caught:
            await send(brief, to, connection=name)
        parked = state is MailState.UNKNOWN
        assert (caught.value.code == ErrorCode.DELIVERY_UNKNOWN) == parked
        assert (await row_of(database, once)).state is state
        assert len(await letters(database, once)) == parked
        rude.replies = {}
        if parked:
            with pytest.raises(ActionError, match="it may have taken effect"):
                await send(as_once(once, 2), to, connection=name)
        else:
            assert (await send(as_once(once, 2), to, connection=name)).accepted == [to]


async def test_a_server_that_fails_at_quit_has_the_mail(
    once: ActionContext, database: "Database"
) -> None:
    async with RudeSmtp({"QUIT": "hang"}) as rude:
        name = await connect(database, rude.port)
        brief = replace(once, timeout=once.timeout / 4)
        assert (await send(brief, to := an_address(), connection=name)).accepted == [to]
        assert len(rude.accepted) == 1
    assert (await row_of(database, once)).state is MailState.SENT


async def test_what_was_decided_counts(
    once: ActionContext, smtp: "Mailbox", database: "Database"
) -> None:
    to = an_address()
    await send(once, to)
    for sent, mails in ((False, 2), (True, 2)):
        await set_state(database, once, MailState.SENDING)
        with pytest.raises(ActionError, match="it may have taken effect"):
            await send(as_once(once, 2), to)
        (letter,) = await letters(database, once)
        assert letter.state is LetterState.OPEN
        async with database.session() as session:
            assert await deliveries.decide(
                session, letter.subject_id, sent=sent, output={"response": "seen"}
            )
            letter.state = LetterState.RESOLVED
            session.add(letter)
        result = await send(as_once(once, 3), to)
        assert len(smtp.messages) == mails
        assert result.delivery == ("marked_sent" if sent else None)
        assert len({mail.message_id for mail in smtp.messages}) == 1
    assert (result.already_sent, result.response, result.to) == (True, "seen", [to])
    assert (await letters(database, once))[0].redrives == 1


async def test_the_attempt_after_the_last_sends_nothing(
    once: ActionContext, smtp: "Mailbox", database: "Database"
) -> None:
    to = an_address()
    with pytest.raises(ActionError, match="nothing was sent") as caught:
        await send(as_once(once, 5), to)
    assert (caught.value.code, caught.value.retryable) == (ErrorCode.STEP_TIMEOUT, False)
    assert smtp.messages == []
    await send(once, to)
    assert (await send(as_once(once, 5), to)).already_sent
    await set_state(database, once, MailState.SENDING)
    with pytest.raises(ActionError, match="an earlier attempt was lost"):
        await send(as_once(once, 5), to)
    assert len(smtp.messages) == 1


async def test_without_a_database_nothing_is_promised(
    once: ActionContext, services: Services
) -> None:
    bare = replace(once, services=replace(services, database=None))
    with pytest.raises(ActionError, match="needs a database"):
        await send(bare, an_address())
