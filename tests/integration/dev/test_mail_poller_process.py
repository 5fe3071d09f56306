"""`sojourn mail-poller`, the process: it reads a mailbox and stops when told to."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from db import connections, inbound_table, mail_inboxes
from db.engine import Database
from schemas.inbound_mail import InboxKind
from schemas.keyring import KeyRing
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


async def test_sojourn_dev_reads_mailboxes_too(start_dev: Callable[..., Any]) -> None:
    server = ImapServer()
    await server.start()
    server.add(reply("ada@home.example", None))
    dev = start_dev(env={"SOJOURN_MAIL_POLL_EVERY": "0.2"})
    config = {"host": "127.0.0.1", "port": server.port, "tls": "none", "username": server.user}

    def read() -> list[dict[str, Any]]:
        dev.ready()
        with dev.api() as api:
            body = {"kind": "imap", "config": config, "secrets": {"password": server.password}}
            answer = api.put("/api/v1/connections/box", json=body)
            assert answer.status_code in (200, 201), answer.text
            body = {"kind": "imap", "connection": "box"}
            answer = api.put("/api/v1/mail/inboxes/in", json=body)
            assert answer.status_code in (200, 201), answer.text
            end = time.monotonic() + 40
            while True:
                items = api.get("/api/v1/mail/inbound").json()["items"]
                if items:
                    return items
                inbox = api.get("/api/v1/mail/inboxes/in").json()
                assert time.monotonic() < end, f"{inbox}\n{dev.text}"
                time.sleep(0.1)

    try:
        items = await asyncio.to_thread(read)
        assert [item["subject"] for item in items] == ["Re: Grüße"]
        dev.signal(signal.SIGTERM)
        assert await asyncio.to_thread(dev.wait) == 0
    finally:
        await server.stop()
