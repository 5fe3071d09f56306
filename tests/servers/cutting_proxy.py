"""A TCP proxy on loopback that loses requests and answers: nobody knows what was done."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from tests.servers.loopback import LoopbackServer

Fault = Literal["lost", "executed"]

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FRAME_HEAD = 9
_HEADERS = 1


def commits(chunk: bytes, _kept: bytearray) -> int:
    """Count PostgreSQL's commits in what a client sends."""
    return chunk.count(b"COMMIT")


def calls(chunk: bytes, kept: bytearray) -> int:
    """Count the calls that begin in what a gRPC client sends: frames of HTTP/2 with headers."""
    kept += chunk
    if kept.startswith(_PREFACE):
        del kept[: len(_PREFACE)]
    begun = 0
    while len(kept) >= _FRAME_HEAD:
        length = _FRAME_HEAD + int.from_bytes(kept[:3], "big")
        if len(kept) < length:
            break
        begun += kept[3] == _HEADERS
        del kept[:length]
    return begun


@dataclass
class CuttingProxy(LoopbackServer):
    """Forwards to a port of loopback, and cuts connections around requests that `count` finds.

    A share of them is `lost`, never forwarded; the same share is `executed`: forwarded, and the
    connection is cut when the answer comes. `forced` are faults of the next requests, first.
    """

    target: int
    count: Callable[[bytes, bytearray], int]
    share: float
    chance: random.Random
    forced: list[Fault] = field(default_factory=list)
    requests: int = 0
    faults: Counter[str] = field(default_factory=Counter)

    def _draw(self, requests: int) -> Fault | None:
        for _ in range(requests):
            self.requests += 1
            found = next(self._chosen(), None)
            if found is not None:
                self.faults[found] += 1
                return found
        return None

    def _chosen(self) -> Iterator[Fault]:
        if self.forced:
            yield self.forced.pop(0)
        drawn = self.chance.random()
        if drawn < self.share:
            yield "lost"
        elif drawn < 2 * self.share:
            yield "executed"

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward both ways until one end, or a fault, ends it."""
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            return
        # Set while the next answer is to be lost.
        cut = asyncio.Event()
        ways = [
            asyncio.create_task(self._forward(reader, back, cut)),
            asyncio.create_task(self._answer(there, writer, cut)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in (writer, back):
                end.transport.abort()

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cut: asyncio.Event
    ) -> None:
        kept = bytearray()
        while chunk := await reader.read(65536):
            fault = self._draw(self.count(chunk, kept))
            if fault == "lost":
                return
            if fault == "executed":
                cut.set()
            writer.write(chunk)
            await writer.drain()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cut: asyncio.Event
    ) -> None:
        while chunk := await reader.read(65536):
            if cut.is_set():
                return
            writer.write(chunk)
            await writer.drain()
