"""The loopback HTTP server that both sides call: 11 bytes of JSON for any request.

Run `python -m benchmarks.target PORT`.
"""

import asyncio
import os
import signal
import sys
from typing import cast

import uvloop

from dev.ports import HOST

BODY = b'{"ok":true}'
_ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
    b"content-length: " + str(len(BODY)).encode() + b"\r\n\r\n" + BODY
)
_END = b"\r\n\r\n"


class Answering(asyncio.Protocol):
    """Answers each request head; bodies are not expected."""

    def __init__(self) -> None:
        self._waiting = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        # uvloop's transports have the methods, but not the base class.
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer every whole request."""
        *requests, self._waiting = (self._waiting + data).split(_END)
        if requests and self._transport is not None:
            self._transport.write(_ANSWER * len(requests))


async def serve(port: int) -> None:
    """Answer until told to stop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await loop.create_server(Answering, HOST, port)
    await stop.wait()
    os._exit(0)


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
