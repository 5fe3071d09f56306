"""What a mail carries for its reader: one-click unsubscribe, links, what DKIM signs."""

from dataclasses import replace
from email import policy
from email.parser import BytesParser
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from sqlmodel import select

from activities.email import EmailParams, email
from activities.errors import ActionError
from db import leads, templates
from db.mail_links import MailLink
from tests.integration.activities.conftest import Step
from tests.kit.mailing import PUBLIC_URL, an_address, connect, row_of, send
from tests.servers.smtp_server import RudeSmtp

if TYPE_CHECKING:
    from db.engine import Database
    from dev.mailbox import Mailbox


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
