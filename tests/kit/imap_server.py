"""A mailbox server on a loopback socket: the part of IMAP4rev1 (RFC 3501) that a reader needs."""

import asyncio
import re
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime

_SEARCH = re.compile(rb"UID (\d+):\*(?: SINCE (\d{2}-\w{3}-\d{4}))?")
_FETCH = re.compile(rb"(\d+) \(UID INTERNALDATE BODY\.PEEK\[\]<0\.(\d+)>\)")


@dataclass
class ImapServer:
    """Serves one user's INBOX; `add` puts a mail into it, `renumber` gives it a new UIDVALIDITY.

    With `tls` it speaks TLS from the first byte, or with `starttls` after that command, before
    which nobody logs in; `in_the_clear` counts the logins that came without TLS. `drop_after`
    closes the connection at that many fetches from now on. `log` has the commands.
    """

    user: str = "ada"
    password: str = "open sesame"
    uidvalidity: int = 7
    drop_after: int | None = None
    fetches: int = 0
    tls: ssl.SSLContext | None = None
    starttls: bool = False
    in_the_clear: int = 0
    log: list[str] = field(default_factory=list)
    _mails: dict[int, tuple[bytes, datetime]] = field(default_factory=dict)
    _next: int = 1
    _server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen on a port that the kernel chooses."""
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", 0, ssl=None if self.starttls else self.tls
        )

    async def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    @property
    def port(self) -> int:
        """The port it listens on."""
        assert self._server is not None
        return self._server.sockets[0].getsockname()[1]

    def add(self, raw: bytes, at: datetime | None = None) -> int:
        """Put a mail into the mailbox; gives its UID."""
        uid, self._next = self._next, self._next + 1
        self._mails[uid] = (raw, at or datetime.now(UTC))
        return uid

    def renumber(self) -> None:
        """Number all mails anew, as a server does that was restored."""
        self.uidvalidity += 1
        mails = list(self._mails.values())
        self._mails = dict(enumerate(mails, 1))
        self._next = len(mails) + 1

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"* OK ready\r\n")
        try:
            while line := await reader.readline():
                tag, _, rest = line.strip().partition(b" ")
                name = rest.split(b" ")[0].upper().decode()
                if name == "UID":
                    name = rest.split(b" ")[1].upper().decode()
                self.log.append(name)
                if name == "STARTTLS" and self.tls is not None:
                    writer.write(tag + b" OK begin\r\n")
                    await writer.drain()
                    await writer.start_tls(self.tls)
                    continue
                if name == "LOGIN" and writer.get_extra_info("cipher") is None:
                    self.in_the_clear += 1
                answer = self._answer(name, rest)
                if answer is None:
                    break
                lines, end = answer
                writer.write(b"".join(lines) + tag + b" " + end + b"\r\n")
                await writer.drain()
                if name == "LOGOUT":
                    break
        except (ConnectionError, ssl.SSLError):
            # The reader has gone away, as readers do, or did not trust the certificate.
            self.log.append("GONE")
        writer.close()

    def _answer(self, name: str, rest: bytes) -> tuple[list[bytes], bytes] | None:
        match name:
            case "CAPABILITY":
                offered = b" STARTTLS LOGINDISABLED" if self.starttls else b""
                return [b"* CAPABILITY IMAP4rev1" + offered + b"\r\n"], b"OK done"
            case "LOGIN":
                given = f'LOGIN {self.user} "{self.password}"'.encode()
                return [], b"OK done" if rest == given else b"NO wrong password"
            case "EXAMINE":
                return [
                    f"* {len(self._mails)} EXISTS\r\n".encode(),
                    f"* OK [UIDVALIDITY {self.uidvalidity}] now\r\n".encode(),
                ], b"OK [READ-ONLY] done"
            case "SEARCH":
                return self._search(rest)
            case "FETCH":
                return self._fetch(rest)
            case "LOGOUT":
                return [b"* BYE\r\n"], b"OK done"
            case "CLOSE" | "NOOP":
                return [], b"OK done"
        return [], b"BAD unknown"

    def _search(self, rest: bytes) -> tuple[list[bytes], bytes]:
        asked = _SEARCH.search(rest)
        assert asked is not None, rest
        least = int(asked[1])
        # The star is the last mail, in whatever order the two stand.
        found = {uid for uid in self._mails if uid >= least} | set(list(self._mails)[-1:])
        if asked[2]:
            day = datetime.strptime(asked[2].decode(), "%d-%b-%Y").replace(tzinfo=UTC)
            found = {uid for uid in found if self._mails[uid][1] >= day}
        told = " ".join(str(uid) for uid in sorted(found, reverse=True))
        return [f"* SEARCH {told}\r\n".encode()], b"OK done"

    def _fetch(self, rest: bytes) -> tuple[list[bytes], bytes] | None:
        asked = _FETCH.search(rest)
        assert asked is not None, rest
        if self.drop_after is not None:
            if self.drop_after == 0:
                return None
            self.drop_after -= 1
        self.fetches += 1
        uid, limit = int(asked[1]), int(asked[2])
        if uid not in self._mails:
            return [], b"OK done"
        raw, at = self._mails[uid]
        part = raw[:limit]
        date = at.strftime("%d-%b-%Y %H:%M:%S +0000")
        head = f'* 1 FETCH (UID {uid} INTERNALDATE "{date}" BODY[]<0> {{{len(part)}}}\r\n'
        return [head.encode() + part + b")\r\n"], b"OK done"
