"""The email action with a database: templates, the lead's events, and no second sending."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from activities.context import ActionContext
from activities.email import EmailParams, EmailResult, email
from activities.errors import ActionError
from db import leads, templates
from db.ids import new_id
from schemas.actions import StepContext
from schemas.errors import ErrorCode, NotFoundError, UnavailableError

if TYPE_CHECKING:
    from activities.services import Services
    from db.engine import Database
    from dev.mailbox import Mailbox


@pytest.fixture
async def lead(database: "Database") -> leads.Lead:
    async with database.session() as session:
        return await leads.upsert(
            session,
            "default",
            f"ada-{uuid4().hex}@example.com",
            name="Ada <i>",
            company="Engines",
            fields={"size": 12},
        )


@pytest.fixture
def context(services: "Services", lead: leads.Lead) -> ActionContext:
    step = StepContext(
        workspace="default",
        definition="test",
        run_id=new_id(),
        path="each[2].welcome",
        lead_id=lead.id,
    )
    return ActionContext(step=step, services=services, timeout=timedelta(seconds=10))


async def send(context: ActionContext, lead: leads.Lead, **given: Any) -> EmailResult:
    mail = {"to": lead.email, "subject": "Hello", "text": "Hi"}
    chosen = given if "template" in given else mail | given
    return await email(EmailParams.model_validate({"to": lead.email} | chosen), context)


async def sent_events(database: "Database", lead: leads.Lead) -> list[leads.LeadEvent]:
    async with database.session() as session:
        return (await leads.events(session, "default", lead.id)).items


async def test_a_sent_mail_is_an_event_of_the_lead(
    context: ActionContext, lead: leads.Lead, smtp: "Mailbox", database: "Database"
) -> None:
    result = await send(context, lead)
    assert result.recorded is True
    (event,) = await sent_events(database, lead)
    assert (event.kind, event.key) == ("sent", result.message_id)
    assert (event.run_id, event.step_path) == (context.step.run_id, "each[2].welcome")
    assert event.data is not None
    assert event.data["message_id"] == smtp.messages[0].message_id
    async with database.session() as session:
        fresh = await leads.get(session, "default", lead.id)
    assert fresh.last_email_sent_at == event.at
    assert fresh.last_activity_at == event.at


async def test_an_attempt_after_the_event_sends_nothing(
    context: ActionContext, lead: leads.Lead, smtp: "Mailbox", database: "Database"
) -> None:
    first = await send(context, lead)
    again = await send(replace(context, attempt=2), lead)
    assert len(smtp.messages) == 1
    assert again.already_sent
    assert again.message_id == first.message_id
    assert again.accepted == [lead.email]
    assert len(await sent_events(database, lead)) == 1


async def test_other_steps_and_iterations_send_their_own(
    context: ActionContext, lead: leads.Lead, smtp: "Mailbox"
) -> None:
    for path in ("each[2].welcome", "each[3].welcome", "each[12].welcome", "followup"):
        step = context.step.model_copy(update={"path": path})
        assert not (await send(replace(context, step=step), lead)).already_sent
    assert len({mail.message_id for mail in smtp.messages}) == 4


class Flaky:
    """A database whose sessions fail: a number of them after the first ones succeeded."""

    def __init__(self, real: "Database", *, good: int, bad: int) -> None:
        self.real, self.good, self.bad = real, good, bad

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Any]:
        if self.good > 0:
            self.good -= 1
        elif self.bad > 0:
            self.bad -= 1
            raise UnavailableError("away", code=ErrorCode.DATABASE_UNAVAILABLE)
        async with self.real.session() as session:
            yield session


def with_database(context: ActionContext, database: Any) -> ActionContext:
    return replace(context, services=replace(context.services, database=database))


async def test_a_short_outage_after_sending_is_bridged(
    context: ActionContext, lead: leads.Lead, smtp: "Mailbox", database: "Database"
) -> None:
    flaky = Flaky(database, good=1, bad=2)
    result = await send(with_database(context, flaky), lead)
    assert result.recorded is True
    assert len(await sent_events(database, lead)) == 1
    assert len(smtp.messages) == 1


async def test_a_long_outage_after_sending_is_told_and_never_sends_again(
    context: ActionContext, lead: leads.Lead, smtp: "Mailbox", database: "Database"
) -> None:
    flaky = Flaky(database, good=1, bad=100)
    result = await send(with_database(context, flaky), lead)
    assert result.recorded is False
    assert result.accepted == [lead.email]
    assert len(smtp.messages) == 1


async def test_an_outage_before_sending_sends_nothing(
    context: ActionContext, lead: leads.Lead, smtp: "Mailbox", database: "Database"
) -> None:
    with pytest.raises(UnavailableError):
        await send(with_database(context, Flaky(database, good=0, bad=1)), lead)
    assert smtp.messages == []


async def test_a_stored_template(
    context: ActionContext, lead: leads.Lead, smtp: "Mailbox", database: "Database"
) -> None:
    name = f"welcome-{uuid4().hex[:8]}"
    async with database.session() as session:
        await templates.put(
            session,
            "default",
            name,
            subject="Welcome, {{ lead.name }}\n",
            text="{{ greeting }}: {{ booking_url }} ({{ lead.fields.size }})",
            html="<style>p{color:red}</style><p>{{ lead.name }} {{ greeting }}</p>",
        )
    await send(context, lead, template=name, data={"greeting": "Hi & bye"})
    (mail,) = smtp.messages
    assert mail.subject == "Welcome, Ada <i>"
    assert mail.text.strip() == "Hi & bye: https://booking.example.com/meet (12)"
    assert "Ada &lt;i&gt; Hi &amp; bye" in mail.html
    assert "color: red" in mail.html


async def test_a_template_without_its_data(
    context: ActionContext, lead: leads.Lead, smtp: "Mailbox", database: "Database"
) -> None:
    name = f"broken-{uuid4().hex[:8]}"
    async with database.session() as session:
        await templates.put(session, "default", name, subject="s", text="{{ missing_one }}")
    with pytest.raises(ActionError) as caught:
        await send(context, lead, template=name)
    assert caught.value.code == "EXPRESSION_ERROR"
    assert not caught.value.retryable
    assert "missing_one" in caught.value.message
    with pytest.raises(NotFoundError):
        await send(context, lead, template="no-such-template")
    assert smtp.messages == []
