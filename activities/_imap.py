"""Reads a mailbox over IMAP (RFC 9051, RFC 3501): blocking calls, for a thread."""

import imaplib
import logging
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from activities.vault import Connection

_VALIDITY = re.compile(rb"\d{1,10}")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_logger = logging.getLogger(__name__)


class MailboxError(Exception):
    """The mailbox server said no, or what it says cannot be read; the message is for people."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """One mail of a mailbox, at most so many bytes of it as were asked for."""

    uid: int
    raw: bytes
    arrived_at: datetime | None


class OpenMailbox:
    """A mailbox that is open read-only: nothing in it changes, no mail becomes read."""

    def __init__(self, client: imaplib.IMAP4, uidvalidity: int) -> None:
        """Wrap a client that has selected the mailbox."""
        self._client = client
        self.uidvalidity = uidvalidity

    def uids_after(self, uid: int, since: datetime | None = None) -> list[int]:
        """Give the UIDs above `uid` in ascending order; only of mail that came since that day."""
        criteria = [f"UID {uid + 1}:*"]
        if since is not None:
            day = since.astimezone(UTC)
            criteria.append(f"SINCE {day.day:02}-{_MONTHS[day.month - 1]}-{day.year:04}")
        data = self._ask("SEARCH", *criteria)
        found = {int(one) for part in data if part for one in part.split() if one.isdigit()}
        # `n:*` gives the last mail also where that is below n.
        return sorted(one for one in found if one > uid)

    def fetch(self, uid: int, limit: int) -> Fetched | None:
        """Give a mail's first `limit` bytes; None for one that is gone."""
        data = self._ask("FETCH", str(uid), f"(UID INTERNALDATE BODY.PEEK[]<0.{limit}>)")
        for part in data:
            if isinstance(part, tuple):
                return Fetched(uid, part[1], _arrival(part[0]))
        return None

    def _ask(self, command: str, *arguments: str) -> list[Any]:
        try:
            answer, data = self._client.uid(command, *arguments)
        except imaplib.IMAP4.error as error:
            raise MailboxError(f"{command} failed: {error}") from error
        if answer != "OK":
            raise MailboxError(f"{command} was refused: {told(data)}")
        return data


@contextmanager
def open_mailbox(
    connection: Connection, link: socket.socket, seconds: float
) -> Iterator[OpenMailbox]:
    """Log in over a connected socket and open the mailbox; `seconds` is each answer's limit.

    Raises MailboxError; OSError and its kin where the server cannot be reached.
    """
    config = connection.config
    try:
        client = open_client(config, link, seconds)
        try:
            client.login(config["username"], connection.secrets["password"])
            answer, data = client.select(quoted(config["mailbox"]), readonly=True)
            if answer != "OK":
                raise MailboxError(f"the mailbox does not open: {told(data)}")
            _, validity = client.response("UIDVALIDITY")
            number = validity[0] if validity and isinstance(validity[0], bytes) else b""
            if not _VALIDITY.fullmatch(number):
                raise MailboxError("the server gives the mailbox no UIDVALIDITY")
            yield OpenMailbox(client, int(number))
        finally:
            _leave(client)
    except UnicodeEncodeError as error:
        raise MailboxError("user and password must be plain ASCII for IMAP") from error
    except imaplib.IMAP4.error as error:
        raise MailboxError(f"the mailbox server refused: {error}") from error


def _leave(client: imaplib.IMAP4) -> None:
    """Log out where the server still listens, and close the socket in any case.

    The library's own way leaves it open when the server has gone.
    """
    try:
        client.logout()
    except (imaplib.IMAP4.error, OSError) as error:
        _logger.debug("no logout: %s", error)
        client.shutdown()


def open_client(config: dict[str, Any], link: socket.socket, seconds: float) -> imaplib.IMAP4:
    """Speak IMAP over a connected socket, with TLS as the imap connection says.

    The socket is the client's from here on, and closed where this fails.
    """
    context = ssl.create_default_context()
    link.settimeout(seconds)
    try:
        if config["tls"] == "implicit":
            return _TlsClient(link, context, config["host"])
        client = _Client(link, config["host"])
        if config["tls"] == "starttls":
            client.starttls(context)
    except BaseException:
        link.close()
        raise
    return client


class _Client(imaplib.IMAP4):
    """The library's client, over a socket that it did not connect itself."""

    def __init__(self, link: socket.socket, host: str) -> None:
        self._link = link
        super().__init__(host)

    def _create_socket(self, timeout: float | None) -> socket.socket:  # noqa: ARG002
        return self._link


class _TlsClient(_Client):
    """The same, with TLS from the first byte."""

    def __init__(self, link: socket.socket, context: ssl.SSLContext, host: str) -> None:
        self._context = context
        super().__init__(link, host)

    def _create_socket(self, timeout: float | None) -> socket.socket:
        link = super()._create_socket(timeout)
        return self._context.wrap_socket(link, server_hostname=self.host)


def quoted(mailbox: str) -> str:
    """Write a mailbox's name as IMAP's quoted string."""
    return '"' + mailbox.replace("\\", "\\\\").replace('"', '\\"') + '"'


def told(data: list[Any]) -> str:
    """Give what a server answered as text."""
    return " ".join(
        one.decode("utf-8", "replace") if isinstance(one, bytes) else str(one) for one in data
    )


def _arrival(envelope: bytes) -> datetime | None:
    moment = imaplib.Internaldate2tuple(envelope)
    return None if moment is None else datetime(*moment[:6]).astimezone(UTC)
