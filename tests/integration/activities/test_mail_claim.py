"""What decides, in one transaction, whether a mail is sent: its row, suppressions, cap, rate."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from email import policy
from email.parser import BytesParser
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlmodel import select

from activities.context import ActionContext
from activities.email import EmailParams, EmailResult, email
from activities.errors import ActionError, NotYetError
from db import connections, leads, mail_messages, mail_rates, suppressions, templates
from db.mail_links import MailLink
from db.mail_messages import MailMessage, MailState
from db.suppressions import SuppressionReason
from schemas.mail import MailPolicy
from tests.integration.activities.conftest import KEYRING, PUBLIC_URL, Step
from tests.servers.smtp_server import RudeSmtp

if TYPE_CHECKING:
    from db.engine import Database
    from dev.mailbox import Mailbox


async def send(context: ActionContext, to: Any, **given: Any) -> EmailResult:
    mail = {"to": to, "subject": "Hello", "text": "Hi"}
    return await email(EmailParams.model_validate(mail | given), context)


async def row_of(database: "Database", context: ActionContext) -> MailMessage:
    async with database.session() as session:
        statement = select(MailMessage).where(MailMessage.step_key == context.step.key)
        return (await session.exec(statement)).one()


async def withhold(database: "Database", *addresses: str) -> None:
    async with database.session() as session:
        for address in addresses:
            await suppressions.add(
                session, "default", address, SuppressionReason.MANUAL, source="test"
            )


async def connect(database: "Database", port: int, **config: Any) -> str:
    """Store an SMTP connection to a local port; gives its name."""
    name = f"mail-{uuid4().hex[:8]}"
    known = {"host": "127.0.0.1", "port": port, "tls": "none"}
    async with database.session() as session:
        await connections.put(
            session,
            "default",
            name,
            kind="smtp",
            config={**known, "from_address": "News <news@news.example>", **config},
            secrets={},
            keyring=KEYRING,
        )
    return name


def an_address() -> str:
    return f"bob-{uuid4().hex}@example.com"


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
            rude.replies = {"RCPT" if reply == "drop" else "MAIL": reply}
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
    with pytest.raises(NotYetError) as other:
        await send(step(), to, connection=name)
    assert 0.5 < first.value.seconds <= 1.0
    assert 1.5 < other.value.seconds <= 2.0
    assert (first.value.code, first.value.retryable) == ("RATE_LIMITED", True)
    assert "60 mails a minute" in first.value.message
    assert len(smtp.messages) == 1
    row = await row_of(database, context)
    assert (row.state, row.attempts, row.slot_at) == (MailState.WAITING, 0, held)
    async with asyncio.timeout(60):
        while len(smtp.messages) < 2:
            with suppress(NotYetError):
                await send(replace(context, attempt=2), to, connection=name)
            await asyncio.sleep(0.05)
    assert held is not None
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
    assert 0.5 < failed.value.retry_after <= 1.0
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


async def test_one_recipient_who_is_a_lead_can_unsubscribe_by_one_click(
    step: Step, ada: leads.Lead, smtp: "Mailbox", database: "Database"
) -> None:
    context = step(ada)
    await send(context, ada.email)
    (mail,) = smtp.messages
    row = await row_of(database, context)
    assert str(mail.message["list-unsubscribe"]) == f"<{PUBLIC_URL}/u/{row.tracking_id}>"
    assert str(mail.message["list-unsubscribe-post"]) == "List-Unsubscribe=One-Click"
    assert len(row.tracking_id) == 22


@pytest.mark.parametrize(
    ("given", "there"),
    [
        ({"unsubscribe": False}, False),
        ({"bcc": "boss@example.com"}, False),
        ({"headers": {"List-Unsubscribe": "<mailto:stop@example.com>"}}, False),
        ({"unsubscribe": True}, True),
    ],
)
async def test_when_the_headers_are_there(
    step: Step, ada: leads.Lead, smtp: "Mailbox", given: dict[str, Any], there: bool
) -> None:
    await send(step(ada), ada.email, **given)
    assert ("list-unsubscribe-post" in smtp.messages[0].message) is there


async def test_a_mail_to_nobodys_lead_unsubscribes_only_if_asked(
    step: Step, smtp: "Mailbox"
) -> None:
    await send(step(), an_address())
    await send(step(), an_address(), unsubscribe=True)
    assert [("list-unsubscribe" in mail.message) for mail in smtp.messages] == [False, True]


async def test_without_a_public_url_nothing_can_be_linked_to(
    step: Step, ada: leads.Lead, smtp: "Mailbox"
) -> None:
    context = step(ada)
    mail = replace(context.services.mail, public_url=None)
    hidden = replace(context, services=replace(context.services, mail=mail))
    with pytest.raises(ActionError) as caught:
        await send(hidden, ada.email, unsubscribe=True)
    assert (caught.value.code, caught.value.retryable) == ("INVALID_INPUT", False)
    result = await send(
        hidden,
        ada.email,
        html='<a href="https://a.example">x</a>',
        tracking={"opens": True, "clicks": True},
    )
    assert result.accepted
    assert '<a href="https://a.example">x</a>' in smtp.messages[0].html
    assert "list-unsubscribe" not in smtp.messages[0].message


async def test_plain_http_gives_a_link_and_no_one_click(
    step: Step, ada: leads.Lead, smtp: "Mailbox"
) -> None:
    context = step(ada)
    mail = replace(context.services.mail, public_url="http://127.0.0.1:8000")
    await send(replace(context, services=replace(context.services, mail=mail)), ada.email)
    message = smtp.messages[0].message
    assert str(message["list-unsubscribe"]).startswith("<http://127.0.0.1:8000/u/")
    assert "list-unsubscribe-post" not in message


async def test_links_and_the_pixel_of_a_template(
    step: Step, ada: leads.Lead, smtp: "Mailbox", database: "Database"
) -> None:
    template = f"news-{uuid4().hex[:8]}"
    async with database.session() as session:
        await templates.put(
            session,
            "default",
            template,
            subject="News",
            text="{{ unsubscribe_url }}",
            html="<style>a{color:red}</style><body>"
            '<a href="https://a.example/{{ lead.name }}?x=1&amp;y=2">read</a>'
            '<a href="{{ unsubscribe_url }}">stop</a></body>',
        )
    name = await connect(database, smtp.port, tracking={"opens": True, "clicks": True})
    context = step(ada)
    given = {
        "to": ada.email,
        "template": template,
        "connection": name,
        "attribution": {"source": "sojourn", "campaign": "may"},
    }
    smtp.refuse = lambda _: "450 later"
    with pytest.raises(ActionError):
        await email(EmailParams.model_validate(given), context)
    smtp.refuse = None
    await email(EmailParams.model_validate(given), replace(context, attempt=2))
    (mail,) = smtp.messages
    row = await row_of(database, context)
    async with database.session() as session:
        statement = select(MailLink).where(MailLink.message_id == row.id)
        (link,) = (await session.exec(statement)).all()
    assert link.url == "https://a.example/Ada?x=1&y=2&utm_source=sojourn&utm_campaign=may"
    assert f'href="{PUBLIC_URL}/c/{link.id}"' in mail.html
    assert f'href="{PUBLIC_URL}/u/{row.tracking_id}"' in mail.html
    assert f'src="{PUBLIC_URL}/o/{row.tracking_id}.gif"' in mail.html
    assert "color: red" in mail.html
    assert mail.text.strip() == f"{PUBLIC_URL}/u/{row.tracking_id}"
    assert row.tracking_id not in link.id
    untracked = step(ada)
    await email(
        EmailParams.model_validate(given | {"tracking": {}, "attribution": None}), untracked
    )
    assert "https://a.example/Ada?x=1&amp;y=2" in smtp.messages[1].html
    assert "/o/" not in smtp.messages[1].html


async def test_what_dkim_signs_is_there_exactly_once(
    step: Step, ada: leads.Lead, database: "Database"
) -> None:
    async with RudeSmtp() as server:
        name = await connect(database, server.port, reply_to="Desk <desk@news.example>")
        await send(
            step(ada),
            f"Ada Ä <{ada.email}>",
            connection=name,
            html="<p>ä</p>",
            subject="Grüße " + "x" * 120,
        )
        (raw,) = server.accepted
    head = BytesParser(policy=policy.SMTP).parsebytes(raw, headersonly=True)
    for header in (
        "Date",
        "Message-ID",
        "From",
        "To",
        "Subject",
        "MIME-Version",
        "Reply-To",
        "Content-Type",
        "List-Unsubscribe",
        "List-Unsubscribe-Post",
    ):
        assert len(head.get_all(header, [])) == 1, header
    assert head["date"].datetime is not None
    assert str(head["reply-to"]) == "Desk <desk@news.example>"
    assert raw.split(b"\r\n\r\n")[0].isascii()
    assert all(len(line) <= 998 for line in raw.split(b"\r\n"))
    # A one-click header that is folded or encoded is not understood by every mail service.
    assert b"\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" in raw
    unfolded = raw.split(b"\r\nList-Unsubscribe: ")[1].split(b"\r\n")[0]
    assert unfolded.startswith(b"<https://mail.example.com/u/")
    assert unfolded.endswith(b">")


async def test_a_long_unsubscribe_link_stays_readable(
    step: Step, ada: leads.Lead, database: "Database"
) -> None:
    async with RudeSmtp() as server:
        name = await connect(database, server.port)
        context = step(ada)
        where = "https://notifications.department.company.example/path/of/the/installation/x"
        mail = replace(context.services.mail, public_url=where)
        services = replace(context.services, mail=mail)
        await send(replace(context, services=services), ada.email, connection=name)
        (raw,) = server.accepted
    assert f"\r\nList-Unsubscribe: <{where}/u/".encode() in raw


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
