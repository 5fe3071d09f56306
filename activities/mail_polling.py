"""Reads the mailboxes of a workspace for replies and bounces; each mail is taken in once."""

import asyncio
import logging
import socket
from dataclasses import dataclass
from datetime import datetime, timedelta

from activities._imap import Fetched, MailboxError, open_mailbox
from activities._mail_target import MailTargets
from activities.masking import masking
from activities.vault import Connection, Vault
from db import mail_inboxes, mail_intake, tenancy
from db.engine import Database
from db.mail_inboxes import MailInbox
from schemas.errors import InputError, SojournError
from schemas.inbound_mail import MAX_MAIL_BYTES, InboundKind, InboxKind, Received, digest_of
from schemas.inbound_parsing import parse_mail

# Of one answer of the server, and mails of one pass over a mailbox.
SECONDS = 30.0
BATCH = 200
# A mailbox that is new, or numbers its mails anew, is read from this long before what is known:
# mail that came in meanwhile is not lost, and what is read again is known by its Message-ID.
_BEFORE = timedelta(days=1)
_AGAIN = timedelta(days=7)
_logger = logging.getLogger(__name__)


@dataclass
class Polled:
    """What one pass took in; `more` if mails were left for the next."""

    taken: int = 0
    more: bool = False


class MailPoller:
    """Polls every enabled mailbox of a workspace; any number of them may run at once.

    A mail and the place up to which the mailbox was read are stored in one transaction, so that a
    crash neither loses nor doubles one.
    """

    def __init__(
        self,
        database: Database,
        vault: Vault,
        workspace: str,
        *,
        seconds: float = SECONDS,
        targets: MailTargets | None = None,
    ) -> None:
        """Poll with the connections of `vault`; `seconds` is the limit of each answer.

        Without `targets` only public mail servers are read.
        """
        self._database = database
        self._vault = vault
        self._workspace = workspace
        self._seconds = seconds
        self._targets = targets or MailTargets.of()

    async def once(self) -> int:
        """Make one pass over all mailboxes; gives how many mails were taken in.

        One that fails keeps the reason in its `last_error`, and the others are read all the same.
        Raises UnavailableError when PostgreSQL is away.
        """
        with tenancy.scope(self._workspace):
            async with self._database.session() as session:
                inboxes = await mail_inboxes.list_all(session, self._workspace, kind=InboxKind.IMAP)
            taken = 0
            for inbox in inboxes:
                if inbox.enabled:
                    taken += await self._poll(inbox.name)
            return taken

    async def _poll(self, name: str) -> int:
        taken, error, inbox_id = 0, None, ""
        try:
            with masking() as masks:
                while True:
                    # Read anew: another process may have moved it.
                    async with self._database.session() as session:
                        inbox = await mail_inboxes.get(session, self._workspace, name)
                    inbox_id = inbox.id
                    try:
                        done = await self._pass(inbox)
                    except (MailboxError, OSError, EOFError) as fault:
                        error = masks.text(f"{type(fault).__name__}: {fault}")[:500]
                        break
                    taken += done.taken
                    if not done.more:
                        break
        except SojournError as fault:
            error = fault.message
        if error is not None:
            _logger.warning("the mailbox %r is not read: %s", name, error)
        if inbox_id:
            async with self._database.session() as session:
                await mail_inboxes.note_poll(session, inbox_id, error)
        return taken

    async def _pass(self, inbox: MailInbox) -> Polled:
        connection = await self._vault.connection(self._workspace, inbox.connection or "", "imap")
        link = await self._targets.connect(
            connection.config["host"], connection.config["port"], self._seconds
        )
        reading = _Reading(connection, link, inbox, self._seconds)
        polled = Polled()
        try:
            validity = await asyncio.to_thread(reading.open)
            before = inbox.last_uid
            if validity != inbox.uidvalidity:
                async with self._database.session() as session:
                    if not await mail_inboxes.begin_anew(
                        session, inbox.id, before=inbox.uidvalidity, uidvalidity=validity
                    ):
                        return polled
                before = 0
            uids = await asyncio.to_thread(reading.uids, before)
            polled.more = len(uids) > BATCH
            for uid in uids[:BATCH]:
                fetched = await asyncio.to_thread(reading.fetch, uid)
                if not await self._take(inbox, validity, before, uid, fetched):
                    return Polled(polled.taken)
                before = uid
                polled.taken += fetched is not None
        finally:
            await asyncio.to_thread(reading.close)
        return polled

    async def _take(
        self, inbox: MailInbox, validity: int, before: int, uid: int, fetched: Fetched | None
    ) -> bool:
        """Take one mail in; False, and nothing done, if another process was first."""
        async with self._database.session() as session:
            if not await mail_inboxes.advance(
                session, inbox.id, uidvalidity=validity, before=before, uid=uid
            ):
                return False
            if fetched is not None:
                received = await asyncio.to_thread(_read, fetched, inbox.name)
                await mail_intake.take(session, inbox, received)
        return True


class _Reading:
    """One visit to a mailbox: every method blocks, and is called from one thread at a time."""

    def __init__(
        self, connection: Connection, link: socket.socket, inbox: MailInbox, seconds: float
    ) -> None:
        self._connection = connection
        self._inbox = inbox
        self._opening = open_mailbox(connection, link, seconds)
        self._open = False

    def open(self) -> int:
        """Log in; gives the mailbox's UIDVALIDITY."""
        self._mailbox = self._opening.__enter__()
        self._open = True
        return self._mailbox.uidvalidity

    def uids(self, after: int) -> list[int]:
        """Give the UIDs that have not been read."""
        return self._mailbox.uids_after(after, None if after else self._since())

    def fetch(self, uid: int) -> Fetched | None:
        """Give one mail."""
        return self._mailbox.fetch(uid, MAX_MAIL_BYTES)

    def close(self) -> None:
        """Log out, where the server still listens."""
        if self._open:
            self._opening.__exit__(None, None, None)

    def _since(self) -> datetime:
        known = self._inbox.created_at
        if self._inbox.polled_at is not None:
            known = max(known, self._inbox.polled_at - _AGAIN)
        return known - _BEFORE


def _read(fetched: Fetched, inbox: str) -> Received:
    """Read a mail; one that cannot be read is kept as such, and does not stop those after it."""
    try:
        received = parse_mail(fetched.raw)
    except InputError as error:
        _logger.warning("mail %d of %r: %s", fetched.uid, inbox, error.message)
        return Received(kind=InboundKind.NOTICE, digest=digest_of(fetched.raw))
    received.at = fetched.arrived_at
    return received
