"""Misbehaving SMTP servers: one answers each command as a test says, one takes its time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email import message_from_bytes, policy

from tests.servers.loopback import LoopbackServer


@dataclass
class RudeSmtp(LoopbackServer):
    """Speaks SMTP on a free loopback port.

    `replies` maps a command (`connect EHLO AUTH MAIL RCPT DATA body QUIT`) to its answer; "drop"
    closes the connection there, "hang" never answers. `accepted` counts whole messages.
    """

    replies: dict[str, str] = field(default_factory=dict)
    offers: tuple[str, ...] = ()
    accepted: list[bytes] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speak SMTP until the client is done."""
        await self._say(writer, "connect", "220 rude")
        while line := (await reader.readline()).decode().strip():
            word = line.split()[0].upper()
            if word in ("EHLO", "HELO"):
                lines = ["rude", *self.offers]
                text = "\r\n".join(
                    f"250{' ' if at == len(lines) - 1 else '-'}{one}"
                    for at, one in enumerate(lines)
                )
                await self._say(writer, "EHLO", text)
            elif word == "RCPT":
                address = line.partition("<")[2].partition(">")[0]
                answer = self.replies.get(address, "250 ok")
                await self._say(writer, "RCPT", answer)
                if answer.startswith("2"):
                    self.recipients.append(address)
            elif word == "DATA":
                await self._say(writer, "DATA", "354 go on")
                if not self.replies.get("DATA", "354").startswith("3"):
                    continue
                body = await reader.readuntil(b"\r\n.\r\n")
                if not self.replies.get("body", "250").startswith(("4", "5")):
                    self.accepted.append(body)
                    await self._taken(body)
                await self._say(writer, "body", "250 taken")
            elif word == "QUIT":
                await self._say(writer, "QUIT", "221 bye")
                return
            else:
                await self._say(writer, word, "250 ok")

    async def _taken(self, body: bytes) -> None:
        """Stand here between taking a message and answering that it is taken."""

    async def _say(self, writer: asyncio.StreamWriter, word: str, usual: str) -> None:
        said = self.replies.get(word, usual)
        if said == "drop":
            raise ConnectionResetError
        if said == "hang":
            await asyncio.Event().wait()
        writer.write(f"{said}\r\n".encode())
        await writer.drain()


@dataclass
class Delivery:
    """One message that was taken; times are those of `time.time()`.

    A delivery is open until its sender was answered, or was killed (`cut_at`).
    """

    message_id: str
    to: str
    subject: str
    taken_at: float
    answered_at: float | None = None
    cut_at: float | None = None

    @property
    def open(self) -> bool:
        """Whether the message is taken and its sender not yet told so."""
        return self.answered_at is None and self.cut_at is None


@dataclass
class SlowSmtp(RudeSmtp):
    """Takes each message at once, and answers when `hold` returns: a sender may die in between."""

    hold: Callable[[Delivery], Awaitable[None]] | None = None
    deliveries: list[Delivery] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The address for `SMTP_URL`."""
        return f"smtp://127.0.0.1:{self.port}"

    @property
    def open(self) -> list[Delivery]:
        """The deliveries that are open now."""
        return [delivery for delivery in self.deliveries if delivery.open]

    def cut(self) -> list[Delivery]:
        """Note that whoever sends now is dead; gives the deliveries that this has cut off."""
        found = self.open
        for delivery in found:
            delivery.cut_at = time.time()
        return found

    async def _taken(self, body: bytes) -> None:
        message = message_from_bytes(body, policy=policy.default)
        delivery = Delivery(
            message_id=str(message["message-id"]).strip(),
            to=str(message["to"]),
            subject=str(message["subject"]),
            taken_at=time.time(),
        )
        self.deliveries.append(delivery)
        if self.hold is not None:
            await self.hold(delivery)
        if delivery.cut_at is None:
            delivery.answered_at = time.time()
