"""Mailboxes over real TLS: implicit and STARTTLS, with certificates good and bad."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from activities._mail_target import MailTargets
from activities.mail_polling import MailPoller
from activities.vault import Vault
from db import connections, inbound_table, mail_inboxes
from db.engine import Database
from schemas.inbound_mail import InboxKind
from schemas.keyring import KeyRing
from tests.kit.imap_server import ImapServer
from tests.kit.inbound_mails import reply
from tests.servers.smtp_tls import AUTHORITY, mail_tls
from tests.servers.wire import server_tls


@pytest.fixture(params=["implicit", "starttls"])
def way(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def server(way: str) -> AsyncIterator[ImapServer]:
    """A mailbox with one mail, whose certificate is for this address."""
    found = ImapServer(tls=mail_tls(), starttls=way == "starttls")
    await found.start()
    found.add(reply("ada@home.example", None))
    yield found
    await found.stop()


async def poll(
    database: Database, keyring: KeyRing, server: ImapServer, way: str
) -> tuple[int, mail_inboxes.MailInbox, list[str | None]]:
    """Read the mailbox once: how many mails came, the inbox, and their subjects."""
    workspace = f"ws-{uuid4().hex[:8]}"
    config = {
        "host": "127.0.0.1",
        "port": server.port,
        "tls": way,
        "username": server.user,
        "mailbox": "INBOX",
    }
    async with database.session() as session:
        await connections.put(
            session,
            workspace,
            "box",
            kind="imap",
            config=config,
            secrets={"password": server.password},
            keyring=keyring,
        )
        await mail_inboxes.put(
            session, workspace, "in", InboxKind.IMAP, connection="box", enabled=True, token=""
        )
    targets = MailTargets.of(("127.0.0.0/8",), (server.port,))
    vault = Vault(database, keyring)
    poller = MailPoller(database, vault, workspace, seconds=5, targets=targets)
    taken = await poller.once()
    async with database.session() as session:
        page = await inbound_table.list_page(session, workspace)
        inbox = await mail_inboxes.get(session, workspace, "in")
    return taken, inbox, [one.subject for one in page.items]


async def test_a_mailbox_is_read_over_tls(
    database: Database,
    keyring: KeyRing,
    server: ImapServer,
    way: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(AUTHORITY))
    taken, inbox, subjects = await poll(database, keyring, server, way)
    assert inbox.last_error is None
    assert (taken, subjects) == (1, ["Re: Grüße"])
    assert "LOGIN" in server.log
    assert server.in_the_clear == 0


async def test_an_unknown_authority_is_refused(
    database: Database, keyring: KeyRing, server: ImapServer, way: str
) -> None:
    taken, inbox, subjects = await poll(database, keyring, server, way)
    assert (taken, subjects) == (0, [])
    assert "certificate verify failed" in (inbox.last_error or "")
    assert "LOGIN" not in server.log


async def test_a_certificate_for_another_name_is_refused(
    database: Database,
    keyring: KeyRing,
    way: str,
    monkeypatch: pytest.MonkeyPatch,
    repository: Path,
) -> None:
    authority = repository / "tests" / "servers" / "tls" / "ca.pem"
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    server = ImapServer(tls=server_tls(), starttls=way == "starttls")
    await server.start()
    try:
        _, inbox, subjects = await poll(database, keyring, server, way)
    finally:
        await server.stop()
    assert subjects == []
    assert "not valid for '127.0.0.1'" in (inbox.last_error or "")
    assert "LOGIN" not in server.log


async def test_a_server_without_starttls_gets_no_password(
    database: Database, keyring: KeyRing
) -> None:
    server = ImapServer()
    await server.start()
    try:
        _, inbox, _ = await poll(database, keyring, server, "starttls")
    finally:
        await server.stop()
    assert "TLS not supported" in (inbox.last_error or "")
    assert "LOGIN" not in server.log
