"""A mail's pixel and links: what is answered, what is kept, and what counts."""

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from httpx2 import AsyncClient, Response
from sqlmodel import select

from db import events, leads, mail_links, mail_messages
from db.base import now
from db.ids import new_id
from db.mail_hits import MailHit
from db.mail_links import MailLink
from db.mail_messages import MailMessage, MailState, NewMail

if TYPE_CHECKING:
    from db.engine import Database

PERSON = {"user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}
TARGET = "https://example.org/offer?a=1&b=%20x#y"


class Sent:
    """A mail that left a minute ago, with one link."""

    def __init__(self, row: MailMessage, lead: leads.Lead, link: MailLink) -> None:
        self.row, self.lead, self.link = row, lead, link
        self.pixel, self.click = f"/o/{row.tracking_id}.gif", f"/c/{link.id}"


async def a_sent_mail(
    database: "Database",
    *,
    ago: float = 60,
    url: str = TARGET,
    path: str = "each[3].send",
    workspace: str = "default",
) -> Sent:
    run_id = new_id()
    async with database.session() as session:
        lead = await leads.upsert(session, workspace, f"ada-{uuid4().hex}@example.com")
        row = await mail_messages.open_message(
            session,
            workspace,
            NewMail(
                step_key=f"{run_id}:{path}",
                run_id=run_id,
                definition="nurture",
                step_path=path,
                to_address=lead.email,
                message_id=f"<{run_id}@mail.example>",
                lead_id=lead.id,
            ),
        )
        row.state, row.claimed_at = MailState.SENT, now() - timedelta(seconds=ago + 1)
        row.sent_at = now() - timedelta(seconds=ago)
        session.add(row)
        link = MailLink(
            id=uuid4().hex[:22], workspace=workspace, message_id=row.id, url=url, position=2
        )
        await mail_links.store(session, [link])
    return Sent(row, lead, link)


async def ask(
    api: AsyncClient, path: str, method: str = "GET", headers: dict[str, str] | None = None
) -> Response:
    """Ask as a stranger does."""
    request = api.build_request(method, path, headers=PERSON if headers is None else headers)
    request.headers.pop("authorization", None)
    if headers is not None and "user-agent" not in headers:
        request.headers.pop("user-agent", None)
    return await api.send(request, follow_redirects=False)


async def hits(database: "Database", sent: Sent) -> Sequence[MailHit]:
    async with database.session() as session:
        found = await session.exec(select(MailHit).where(MailHit.message_id == sent.row.id))
        return found.all()


async def told(
    database: "Database", sent: Sent
) -> tuple[MailMessage, leads.Lead, list[leads.LeadEvent], list[Any]]:
    """The mail, its lead, the lead's events and the published events, as they are now."""
    async with database.session() as session:
        row = await session.get(MailMessage, sent.row.id)
        assert row is not None
        lead = await leads.get(session, "default", sent.lead.id)
        page = await leads.events(session, "default", sent.lead.id)
        published = await events.list_page(session, "default", key=sent.lead.email)
    return row, lead, page.items, published.items


async def test_an_open_counts_once_in_ten_minutes(api: AsyncClient, database: "Database") -> None:
    sent = await a_sent_mail(database)
    for _ in range(3):
        answer = await ask(api, sent.pixel)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "image/gif"
        assert "no-store" in answer.headers["cache-control"]
    assert [hit.bot for hit in await hits(database, sent)] == [None] * 3
    row, lead, happened, published = await told(database, sent)
    # At the edge of two periods it may be two.
    assert 1 <= len(happened) == len(published) <= 2
    assert row.opened_at == lead.last_email_opened_at or len(happened) == 2
    assert row.clicked_at is row.replied_at is lead.last_replied_at is None
    event = happened[-1]
    assert (event.kind, event.run_id, event.step_path) == ("opened", row.run_id, "each[3].send")
    assert event.data == {"message_id": row.message_id}
    assert published[-1].type == "email.opened"
    assert published[-1].data["run_id"] == row.run_id
    assert published[-1].data["step"] == "send"


async def test_the_pixel_is_the_same_for_every_id(api: AsyncClient, database: "Database") -> None:
    sent = await a_sent_mail(database)
    known = await ask(api, sent.pixel)
    others = [await ask(api, f"/o/{other}.gif") for other in ("x", "a" * 22, "é", "z" * 500)]
    head = await ask(api, sent.pixel, "HEAD")
    for answer in others:
        assert (answer.status_code, answer.content) == (200, known.content)
        same = dict(answer.headers) | {"x-request-id": ""}
        assert same == dict(known.headers) | {"x-request-id": ""}
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(known.content))
    assert known.content[:6] == b"GIF89a"


async def test_a_click_leads_to_the_stored_target(api: AsyncClient, database: "Database") -> None:
    sent = await a_sent_mail(database)
    answer = await ask(api, f"{sent.click}?url=https://evil.example&to=//evil.example")
    assert answer.status_code == 302
    assert answer.headers["location"] == TARGET
    assert "no-store" in answer.headers["cache-control"]
    row, _, happened, published = await told(database, sent)
    assert row.clicked_at is not None
    assert row.opened_at is None
    assert [event.kind for event in happened] == ["clicked"]
    assert happened[0].data == {"message_id": row.message_id, "url": TARGET, "link": 2}
    assert published[0].type == "email.clicked"
    assert published[0].data["url"] == TARGET


@pytest.mark.parametrize(
    "path", ["/c/unknown", "/c/https%3A%2F%2Fevil.example", "/c/" + "a" * 300, "/c/%C3%A9"]
)
async def test_an_unknown_link_leads_nowhere(api: AsyncClient, path: str) -> None:
    answer = await ask(api, path)
    assert answer.status_code == 404
    assert "location" not in answer.headers
    assert "html" in answer.headers["content-type"] or "%2F" in path


async def test_only_web_addresses_are_targets(api: AsyncClient, database: "Database") -> None:
    for url in ("javascript:alert(1)", "//evil.example", "data:text/html,x"):
        sent = await a_sent_mail(database, url=url)
        assert (await ask(api, sent.click)).status_code == 404
    sent = await a_sent_mail(database, url="https://exämple.org/ü?q=%C3%BC")
    answer = await ask(api, sent.click)
    assert answer.headers["location"] == "https://ex%C3%A4mple.org/%C3%BC?q=%C3%BC"


@pytest.mark.parametrize(
    ("method", "headers", "ago", "why"),
    [
        ("HEAD", PERSON, 60, "head"),
        ("GET", PERSON | {"purpose": "prefetch"}, 60, "prefetch"),
        ("GET", PERSON | {"sec-purpose": "prefetch;prerender"}, 60, "prefetch"),
        ("GET", PERSON, 0.2, "too_soon"),
        ("GET", {"user-agent": "Mozilla/5.0"}, 60, "apple_mpp"),
        ("GET", {"user-agent": "Barracuda Sentinel (EE)"}, 60, "scanner"),
        ("GET", {"user-agent": "python-requests/2.32"}, 60, "scanner"),
        ("GET", {}, 60, "scanner"),
    ],
)
async def test_machines_are_kept_and_not_counted(
    api: AsyncClient,
    database: "Database",
    method: str,
    headers: dict[str, str],
    ago: float,
    why: str,
) -> None:
    sent = await a_sent_mail(database, ago=ago)
    assert (await ask(api, sent.pixel, method, headers)).status_code == 200
    assert (await ask(api, sent.click, method, headers)).status_code == 302
    found = await hits(database, sent)
    assert sorted((hit.kind.value, hit.bot) for hit in found) == [
        ("clicked", why),
        ("opened", why),
    ]
    row, lead, happened, published = await told(database, sent)
    assert (happened, published) == ([], [])
    assert row.opened_at is row.clicked_at is lead.last_email_opened_at is None


async def test_the_image_proxy_of_gmail_is_a_person(api: AsyncClient, database: "Database") -> None:
    sent = await a_sent_mail(database)
    agent = (
        "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
    )
    await ask(api, sent.pixel, headers={"user-agent": agent})
    assert [event.kind for event in (await told(database, sent))[2]] == ["opened"]


async def test_one_id_cannot_fill_the_table(api: AsyncClient, database: "Database") -> None:
    sent = await a_sent_mail(database)
    for _ in range(40):
        assert (await ask(api, sent.pixel)).status_code == 200
    assert 30 <= len(await hits(database, sent)) <= 31
    # Another id of the same mail is not meant.
    assert (await ask(api, sent.click)).status_code == 302
    assert len(await hits(database, sent)) <= 32
