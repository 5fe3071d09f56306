"""A misbehaving SMTP server: each command can be answered as a test says, or not at all."""

import asyncio
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self


@dataclass
class RudeSmtp:
    """Speaks SMTP on a free loopback port.

    `replies` maps a command (`connect EHLO AUTH MAIL RCPT DATA body QUIT`) to its answer; "drop"
    closes the connection there, "hang" never answers. `accepted` counts whole messages.
    """

    replies: dict[str, str] = field(default_factory=dict)
    offers: tuple[str, ...] = ()
    accepted: list[bytes] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._talk(reader, writer)
        except (ConnectionError, asyncio.CancelledError, EOFError):
            return
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
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
                await self._say(writer, "body", "250 taken")
            elif word == "QUIT":
                await self._say(writer, "QUIT", "221 bye")
                return
            else:
                await self._say(writer, word, "250 ok")

    async def _say(self, writer: asyncio.StreamWriter, word: str, usual: str) -> None:
        said = self.replies.get(word, usual)
        if said == "drop":
            raise ConnectionResetError
        if said == "hang":
            await asyncio.Event().wait()
        writer.write(f"{said}\r\n".encode())
        await writer.drain()
