"""`sojourn mail-poller`, the process: it reads a mailbox and stops when told to."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from db import connections, inbound_table, mail_inboxes
from db.engine import Database
from db.sealing import KeyRing
from schemas.inbound_mail import InboxKind
from tests.kit.imap_server import ImapServer
from tests.kit.inbound_mails import reply

KEYS = "k1:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="


async def test_the_process(
    migrated_database: Callable[[], Awaitable[str]], repository: Path
) -> None:
    url = await migrated_database()
    database, server = Database(url), ImapServer()
    await server.start()
    config = {
        "host": "127.0.0.1",
        "port": server.port,
        "tls": "none",
        "username": server.user,
        "mailbox": "INBOX",
    }
    async with database.session() as session:
        await connections.put(
            session,
            "default",
            "box",
            kind="imap",
            config=config,
            secrets={"password": server.password},
            keyring=KeyRing.parse(KEYS),
        )
        await mail_inboxes.put(
            session, "default", "in", InboxKind.IMAP, connection="box", enabled=True, token=""
        )
    server.add(reply("ada@home.example", None))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "cli",
        "mail-poller",
        cwd=repository,
        env=os.environ
        | {
            "DATABASE_URL": url,
            "SOJOURN_SECRET_KEYS": KEYS,
            "SOJOURN_MAIL_POLL_EVERY": "0.2",
            "SOJOURN_MAIL_ALLOW_CIDRS": "127.0.0.0/8",
            "SOJOURN_MAIL_ALLOW_PORTS": str(server.port),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(40):
            while True:
                async with database.session() as session:
                    page = await inbound_table.list_page(session, "default")
                if page.items:
                    break
                await asyncio.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await server.stop()
        await database.close()
    assert process.returncode == 0, output.decode()
    assert [one.subject for one in page.items] == ["Re: Grüße"]
    assert server.password not in output.decode()
