"""Mailboxes over real sockets: nothing is lost and nothing counts twice, whatever breaks."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from sqlmodel import col, select

from activities._mail_target import MailTargets
from activities.mail_polling import MailPoller
from activities.vault import Vault
from db import connections, leads, mail_inboxes
from db.inbound_table import InboundMail
from schemas.inbound_mail import InboxKind
from tests.integration.api.test_tracking import a_sent_mail
from tests.kit.imap_server import ImapServer
from tests.kit.inbound_mails import reply

if TYPE_CHECKING:
    from db.engine import Database
    from schemas.keyring import KeyRing


class Box:
    """A mailbox, the inbox that reads it, in a workspace of their own."""

    def __init__(self, database: "Database", keyring: "KeyRing", server: ImapServer) -> None:
        self.database, self.server = database, server
        self.workspace = f"ws-{uuid4().hex[:8]}"
        self.vault = Vault(database, keyring)
        self.keyring = keyring

    def poller(self) -> MailPoller:
        targets = MailTargets.of(("127.0.0.0/8",), (self.server.port,))
        return MailPoller(self.database, self.vault, self.workspace, seconds=5, targets=targets)

    async def row(self) -> mail_inboxes.MailInbox:
        async with self.database.session() as session:
            return await mail_inboxes.get(session, self.workspace, "replies")

    async def subjects(self) -> list[str]:
        async with self.database.session() as session:
            found = await session.exec(
                select(InboundMail.subject)
                .where(InboundMail.workspace == self.workspace)
                .order_by(col(InboundMail.created_at), col(InboundMail.id))
            )
            return [subject or "" for subject in found]


@pytest.fixture
async def box(database: "Database", keyring: "KeyRing") -> AsyncIterator[Box]:
    server = ImapServer()
    await server.start()
    made = Box(database, keyring, server)
    async with database.session() as session:
        await connections.put(
            session,
            made.workspace,
            "mailbox",
            kind="imap",
            config={
                "host": "127.0.0.1",
                "port": server.port,
                "tls": "none",
                "username": server.user,
                "mailbox": "INBOX",
            },
            secrets={"password": server.password},
            keyring=keyring,
        )
        await mail_inboxes.put(
            session,
            made.workspace,
            "replies",
            InboxKind.IMAP,
            connection="mailbox",
            enabled=True,
            token="",
        )
    yield made
    await server.stop()


def numbered(number: int, identity: bool = True) -> bytes:
    message_id = f"Message-ID: <{uuid4().hex}@x.example>\r\n" if identity else ""
    return (
        f"From: ada@home.example\r\nSubject: n{number}\r\n{message_id}\r\nhi {number}\r\n"
    ).encode()


async def test_a_mailbox_is_read_once_and_goes_on_after_a_restart(box: Box) -> None:
    box.server.add(numbered(0), datetime.now(UTC) - timedelta(days=30))
    for number in (1, 2):
        box.server.add(numbered(number, identity=number == 1))
    assert await box.poller().once() == 2
    assert await box.poller().once() == 0
    box.server.add(numbered(3))
    assert await box.poller().once() == 1
    assert await box.subjects() == ["n1", "n2", "n3"]
    row = await box.row()
    assert (row.uidvalidity, row.last_uid, row.received, row.last_error) == (7, 4, 3, None)
    assert row.polled_at is not None
    assert box.server.fetches == 3


async def test_a_line_that_breaks_loses_and_doubles_nothing(box: Box) -> None:
    for number in range(6):
        box.server.add(numbered(number, identity=False))
    for expected in (2, 4, 6):
        box.server.drop_after = 2 if expected < 6 else None
        await box.poller().once()
        assert len(await box.subjects()) == expected
        assert ((await box.row()).last_error is None) is (expected == 6)
    assert await box.subjects() == [f"n{number}" for number in range(6)]
    assert box.server.fetches == 6


async def test_new_numbers_double_nothing(box: Box) -> None:
    for number in range(3):
        box.server.add(numbered(number, identity=number != 1))
    assert await box.poller().once() == 3
    box.server.renumber()
    box.server.add(numbered(3))
    await box.poller().once()
    assert await box.subjects() == ["n0", "n1", "n2", "n3"]
    row = await box.row()
    assert (row.uidvalidity, row.last_uid, row.received) == (8, 4, 4)


async def test_two_pollers_at_once(box: Box) -> None:
    for number in range(8):
        box.server.add(numbered(number, identity=False))
    counts = await asyncio.gather(*(box.poller().once() for _ in range(3)))
    assert sum(counts) <= 8
    await box.poller().once()
    assert sorted(await box.subjects()) == [f"n{number}" for number in range(8)]
    assert (await box.row()).received == 8


async def test_what_cannot_be_read_stops_nothing(box: Box) -> None:
    head = b"Content-Type: multipart/mixed; boundary=a\r\n\r\n"
    box.server.add(head + b"--a\r\n\r\nx\r\n" * 2000)
    box.server.add(b"\x00\xff\r\n\r\n")
    box.server.add(b"Subject: big\r\nMessage-ID: <big@x>\r\n\r\n" + b"x" * 2_000_000)
    box.server.add(numbered(1))
    assert await box.poller().once() == 4
    assert (await box.subjects())[-2:] == ["big", "n1"]


async def test_a_wrong_password_is_told_and_not_shown(
    box: Box, caplog: pytest.LogCaptureFixture
) -> None:
    box.server.password = "another one"
    assert await box.poller().once() == 0
    row = await box.row()
    assert row.last_error is not None
    assert "wrong password" in row.last_error
    assert row.polled_at is None
    assert "open sesame" not in row.last_error + caplog.text


async def test_a_reply_reaches_its_mail(box: Box, database: "Database") -> None:
    sent = await a_sent_mail(database, path="welcome", workspace=box.workspace)
    arrived = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=30)
    box.server.add(reply(sent.lead.email, sent.row.message_id), arrived)
    await box.poller().once()
    async with database.session() as session:
        [event] = (await leads.events(session, box.workspace, sent.lead.id)).items
    assert (event.kind, event.step_path, event.run_id) == ("replied", "welcome", sent.row.run_id)
    assert event.at == arrived
