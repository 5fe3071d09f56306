"""Replies, bounces and complaints over POST /mail/inbound/{token}, and what they are about."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from httpx2 import AsyncClient, Response
from sqlmodel import select

from db import connections, events, leads, runs, suppressions
from db.inbound_table import InboundMail
from db.mail_messages import MailMessage
from schemas.run import RunStatus
from tests.integration.api.conftest import assert_problem
from tests.integration.api.test_tracking import Sent, a_sent_mail
from tests.kit.inbound_mails import bounce, complaint, reply

if TYPE_CHECKING:
    from db.engine import Database
    from schemas.keyring import KeyRing

MAIL = {"content-type": "message/rfc822"}


@pytest.fixture
async def inbox(api: AsyncClient) -> str:
    """The path that a provider posts to."""
    made = await api.put(f"/api/v1/mail/inboxes/in-{uuid4().hex[:8]}", json={"kind": "webhook"})
    assert made.status_code == 201, made.text
    return made.json()["url"].removeprefix("http://testserver")


async def post(api: AsyncClient, path: str, **given: Any) -> Response:
    """Post as a provider does, without the API's key."""
    request = api.build_request("POST", path, **given)
    del request.headers["authorization"]
    return await api.send(request)


async def mail(api: AsyncClient, path: str, raw: bytes) -> dict[str, Any]:
    answer = await post(api, path, content=raw, headers=MAIL)
    assert answer.status_code == 202, answer.text
    return answer.json()


async def kinds(database: "Database", sent: Sent) -> Sequence[str]:
    async with database.session() as session:
        page = await leads.events(session, "default", sent.lead.id)
    return [event.kind.value for event in page.items]


async def published(database: "Database", sent: Sent) -> list[Any]:
    async with database.session() as session:
        return (await events.list_page(session, "default", key=sent.lead.email)).items


async def is_suppressed(database: "Database", address: str) -> bool:
    async with database.session() as session:
        return bool(await suppressions.among(session, "default", [address]))


async def row_of(database: "Database", sent: Sent) -> MailMessage:
    async with database.session() as session:
        return (await session.exec(select(MailMessage).where(MailMessage.id == sent.row.id))).one()


async def inbound(database: "Database", identity: str) -> InboundMail:
    async with database.session() as session:
        return (await session.exec(select(InboundMail).where(InboundMail.id == identity))).one()


async def test_a_reply_counts_once(api: AsyncClient, database: "Database", inbox: str) -> None:
    sent = await a_sent_mail(database)
    # From another address than the mail went to: the Message-ID decides.
    raw = reply("assistant@elsewhere.example", sent.row.message_id)
    answer = await mail(api, inbox, raw)
    assert (answer["kind"], answer["matched"], answer["duplicate"]) == ("reply", True, False)
    again = await post(api, inbox, content=raw, headers=MAIL)
    assert again.status_code == 200
    assert again.json() == answer | {"duplicate": True}
    assert await kinds(database, sent) == ["replied"]
    [event] = await published(database, sent)
    assert event.type == "email.replied"
    assert event.data["run_id"] == sent.row.run_id
    assert event.data["step"] == "send"
    assert event.data["text"] == "Yes, gladly.\n"
    assert event.data["from"] == "assistant@elsewhere.example"
    row = await row_of(database, sent)
    assert row.replied_at is not None
    assert row.opened_at is row.clicked_at is None
    stored = await inbound(database, answer["id"])
    assert (stored.subject, stored.matched_by, stored.lead_id) == (
        "Re: Grüße",
        "message_id",
        sent.lead.id,
    )
    listed = (await api.get("/api/v1/mail/inbound", params={"kind": "reply", "limit": 1})).json()
    assert listed["items"][0]["id"] == answer["id"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Auto_Submitted": "auto-replied"},
        {"X_Autoreply": "yes"},
        {"Precedence": "bulk"},
        {"Return_Path": "<>"},
    ],
)
async def test_a_machine_answers(
    api: AsyncClient, database: "Database", inbox: str, headers: dict[str, str]
) -> None:
    sent = await a_sent_mail(database)
    answer = await mail(api, inbox, reply(sent.lead.email, sent.row.message_id, **headers))
    assert (answer["kind"], answer["matched"]) == ("auto_reply", True)
    assert await kinds(database, sent) == ["auto_replied"]
    assert await published(database, sent) == []
    assert (await row_of(database, sent)).replied_at is None


async def test_without_a_reference_an_open_run_of_the_lead_is_meant(
    api: AsyncClient, database: "Database", inbox: str
) -> None:
    sent = await a_sent_mail(database)
    # No run of it is open: nobody knows what this answers.
    answer = await mail(api, inbox, reply(sent.lead.email.upper(), None))
    assert (answer["kind"], answer["matched"]) == ("unmatched", False)
    assert (await inbound(database, answer["id"])).text is None
    async with database.session() as session:
        row = await runs.insert_queued(
            session, "default", definition="nurture", version=1, input={}, lead_id=sent.lead.id
        )
    answer = await mail(api, inbox, reply(sent.lead.email.upper(), "<unknown@x.example>"))
    assert (answer["kind"], answer["matched"]) == ("reply", True)
    stored = await inbound(database, answer["id"])
    assert (stored.matched_by, stored.run_id) == ("run", row.id)
    assert await kinds(database, sent) == ["replied"]
    async with database.session() as session:
        await runs.close(session, "default", row.id, RunStatus.CANCELLED)


async def test_what_a_colleague_writes_is_no_reply(
    api: AsyncClient, database: "Database", inbox: str
) -> None:
    sent = await a_sent_mail(database)
    answer = await mail(api, inbox, reply("sales@mail.example", sent.row.message_id))
    assert answer["kind"] == "unmatched"
    assert await kinds(database, sent) == []


@pytest.mark.parametrize(
    ("status", "diagnostic", "hard"),
    [
        ("5.1.1", "smtp; 550 5.1.1 no such user", True),
        ("5.0.0", "smtp; 550 unknown", True),
        ("5.0.0", "smtp; 552 5.2.2 mailbox full", False),
        ("5.2.2", "smtp; 552 over quota", False),
        ("5.7.1", "smtp; 550 5.7.1 looks like spam", False),
        ("4.4.1", "smtp; timed out", False),
    ],
)
async def test_bounces(
    api: AsyncClient,
    database: "Database",
    inbox: str,
    status: str,
    diagnostic: str,
    hard: bool,
) -> None:
    sent = await a_sent_mail(database)
    raw = bounce(sent.lead.email, sent.row.message_id, status=status, diagnostic=diagnostic)
    answer = await mail(api, inbox, raw)
    assert (answer["kind"], answer["matched"]) == ("bounce", True)
    assert await is_suppressed(database, sent.lead.email) is hard
    assert await kinds(database, sent) == ["bounced"]
    [event] = await published(database, sent)
    assert event.type == "email.bounced"
    assert event.data["severity"] == ("hard" if hard else "soft")
    row = await row_of(database, sent)
    assert (row.bounced_at is not None) is hard
    assert row.replied_at is None


async def test_a_delay_is_no_bounce(api: AsyncClient, database: "Database", inbox: str) -> None:
    sent = await a_sent_mail(database)
    raw = bounce(sent.lead.email, sent.row.message_id, action="delayed", status="4.4.1")
    answer = await mail(api, inbox, raw)
    assert answer["kind"] == "notice"
    assert await kinds(database, sent) == []


async def test_a_complaint_suppresses(api: AsyncClient, database: "Database", inbox: str) -> None:
    sent = await a_sent_mail(database)
    answer = await mail(api, inbox, complaint(sent.lead.email, sent.row.message_id))
    assert answer["kind"] == "complaint"
    async with database.session() as session:
        entry = await suppressions.get(session, "default", sent.lead.email)
    assert entry.reason == "complaint"
    assert await kinds(database, sent) == ["complained"]
    kept = await a_sent_mail(database)
    raw = complaint(kept.lead.email, kept.row.message_id, "not-spam")
    assert (await mail(api, inbox, raw))["kind"] == "notice"
    assert not await is_suppressed(database, kept.lead.email)


async def test_nobody_is_suppressed_by_a_report_about_no_mail_of_theirs(
    api: AsyncClient, database: "Database", inbox: str
) -> None:
    sent = await a_sent_mail(database)
    victim = f"victim-{uuid4().hex}@example.com"
    for raw in (
        bounce(victim, None),
        bounce(victim, "<unknown@x.example>"),
        bounce(victim, sent.row.message_id),
        complaint(victim, sent.row.message_id),
    ):
        answer = await mail(api, inbox, raw)
        assert (answer["kind"], answer["matched"]) == ("unmatched", False)
    assert not await is_suppressed(database, victim)
    # Without the Message-ID an address is meant that has had mail of late.
    assert (await mail(api, inbox, bounce(sent.lead.email, None)))["matched"]
    assert await is_suppressed(database, sent.lead.email)


async def test_json_and_the_forms_of_providers(
    api: AsyncClient, database: "Database", inbox: str
) -> None:
    def fields(sent: Sent) -> dict[str, str]:
        return {"from": f"Ada <{sent.lead.email}>", "subject": "Re", "text": "Yes"}

    sent = await a_sent_mail(database)
    body = fields(sent) | {
        "to": ["news@mail.example"],
        "message_id": f"{uuid4().hex}@x.example",
        "in_reply_to": sent.row.message_id.strip("<>"),
    }
    answer = await post(api, inbox, json=body)
    assert answer.status_code == 202, answer.text
    assert (await post(api, inbox, json=body)).json()["duplicate"] is True
    assert await kinds(database, sent) == ["replied"]
    # Mailgun's.
    sent = await a_sent_mail(database)
    headers = [["Message-Id", f"<{uuid4().hex}@x>"], ["In-Reply-To", sent.row.message_id]]
    form = {"sender": sent.lead.email, "body-plain": "Yes", "message-headers": json.dumps(headers)}
    assert (await post(api, inbox, data=form)).json()["kind"] == "reply"
    assert await kinds(database, sent) == ["replied"]
    # SendGrid's, with the headers as text, and with the whole mail.
    sent = await a_sent_mail(database)
    raw = f"Message-ID: <{uuid4().hex}@x>\nReferences: {sent.row.message_id}\n"
    raw += "Auto-Submitted: auto-replied"
    files = {name: (None, value) for name, value in (fields(sent) | {"headers": raw}).items()}
    assert (await post(api, inbox, files=files)).json()["kind"] == "auto_reply"
    whole = reply(sent.lead.email, sent.row.message_id).decode()
    assert (await post(api, inbox, files={"email": (None, whole)})).json()["kind"] == "reply"
    assert sorted(await kinds(database, sent)) == ["auto_replied", "replied"]
    # What a provider knows without a mail.
    sent = await a_sent_mail(database)
    told = {
        "kind": "bounce",
        "recipient": sent.lead.email,
        "in_reply_to": sent.row.message_id,
        "severity": "hard",
        "status": "5.1.1",
    }
    assert (await post(api, inbox, json=told)).json()["kind"] == "bounce"
    assert await is_suppressed(database, sent.lead.email)


@pytest.mark.parametrize(
    ("given", "status", "code"),
    [
        ({"content": b"x" * (1024 * 1024 + 1), "headers": MAIL}, 413, "LIMIT_EXCEEDED"),
        ({"content": b"\x00", "headers": MAIL}, 422, "INVALID_INPUT"),
        ({"json": {"from": "a@b.example", "evil": 1}}, 422, "INVALID_INPUT"),
        ({"json": {"from": "a@b.example", "text": "\x00"}}, 422, "INVALID_INPUT"),
        ({"json": []}, 422, "INVALID_INPUT"),
        ({"data": {"nothing": "here"}}, 422, "INVALID_INPUT"),
        ({"content": b"x", "headers": {"content-type": "image/png"}}, 422, "INVALID_INPUT"),
    ],
)
async def test_what_is_no_mail(
    api: AsyncClient, inbox: str, given: dict[str, Any], status: int, code: str
) -> None:
    assert_problem(await post(api, inbox, **given), status, code)


async def test_inboxes(
    api: AsyncClient, database: "Database", keyring: "KeyRing", caplog: pytest.LogCaptureFixture
) -> None:
    name = f"in-{uuid4().hex[:8]}"
    where = f"/api/v1/mail/inboxes/{name}"
    made = (await api.put(where, json={"kind": "webhook"})).json()
    path = f"/api/v1/mail/inbound/{made['token']}"
    again = await api.put(where, json={"kind": "webhook", "enabled": False})
    assert (again.status_code, again.json()["token"]) == (200, None)
    raw = reply("x@y.example", None)
    assert_problem(await post(api, path, content=raw, headers=MAIL), 409, "CONFLICT")
    await api.put(where, json={"kind": "webhook"})
    assert (await post(api, path, content=raw, headers=MAIL)).status_code == 202
    assert (await api.get(where)).json()["received"] == 1
    assert_problem(await api.put(where, json={"kind": "imap"}), 422, "INVALID_INPUT")
    rotated = (await api.post(f"{where}/rotate")).json()
    assert rotated["token"] != made["token"]
    assert_problem(await post(api, path, content=raw, headers=MAIL), 404, "NOT_FOUND")
    assert made["token"] not in caplog.text
    mailbox = {"kind": "imap", "connection": f"box-{name}"}
    assert_problem(await api.put(f"{where}-2", json=mailbox), 422, "INVALID_INPUT")
    async with database.session() as session:
        await connections.put(
            session,
            "default",
            f"box-{name}",
            kind="imap",
            config={"host": "x", "username": "u"},
            secrets={"password": "pass"},
            keyring=keyring,
        )
    assert (await api.put(f"{where}-2", json=mailbox)).status_code == 201
    assert_problem(await api.post(f"{where}-2/rotate"), 409, "CONFLICT")
    names = [one["name"] for one in (await api.get("/api/v1/mail/inboxes")).json()["items"]]
    assert {name, f"{name}-2"} <= set(names)
    for one in (where, f"{where}-2"):
        assert (await api.delete(one)).status_code == 204
        assert_problem(await api.get(one), 404, "NOT_FOUND")
