"""The pool of the guarded client: reuse, its end, its size, and streams under pressure."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import httpx2
import pytest
import uvloop

from activities import _client, _pool
from activities._client import GuardedClient, guarded_client
from activities._ssrf import TargetPolicy
from tests.servers.wire import Received, WireServer, client_tls, respond, server_tls

POLICY = TargetPolicy.of(["127.0.0.0/8"], range(1024, 65536))


async def _hello(_: Received, writer: asyncio.StreamWriter) -> None:
    respond(writer, 200, b"hello")


@pytest.fixture
async def client() -> AsyncIterator[GuardedClient]:
    async with guarded_client(POLICY) as client:
        yield client


async def test_a_connection_serves_one_request_after_the_other(client: GuardedClient) -> None:
    async with WireServer(_hello) as server:
        for _ in range(5):
            assert (await client.get(server.url)).text == "hello"
        assert server.connections == 1
        await asyncio.gather(*(client.get(server.url) for _ in range(4)))
        assert 2 <= server.connections <= 4


async def test_each_origin_has_connections_of_its_own(client: GuardedClient) -> None:
    async with WireServer(_hello) as one, WireServer(_hello) as other:
        for server in (one, other, one, other):
            await client.get(server.url)
        assert (one.connections, other.connections) == (1, 1)


@pytest.mark.parametrize("rested", [False, True])
async def test_a_connection_that_its_server_closed_is_not_used(
    client: GuardedClient, rested: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = asyncio.Event()

    async def answer(_: Received, writer: asyncio.StreamWriter) -> None:
        respond(writer, 200, b"hello")
        await writer.drain()
        # Without a word in the answer that it would.
        writer.close()
        await writer.wait_closed()
        ended.set()

    if rested:
        # As if the loop had not heard of the end: the socket itself is asked.
        monkeypatch.setattr("activities._streams._FRESH", 0.0)
        monkeypatch.setattr("activities._streams.LoopStream.eof_received", lambda _: True)
    async with WireServer(answer) as server:
        for number in range(1, 4):
            assert (await client.get(server.url)).text == "hello"
            await ended.wait()
            ended.clear()
            await asyncio.sleep(0.01)  # the end travels through the kernel
            assert server.connections == number


async def test_a_connection_is_not_kept_for_ever(
    client: GuardedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with WireServer(_hello) as server:
        await client.get(server.url)
        now = _pool.time.monotonic()
        monkeypatch.setattr("activities._pool.time.monotonic", lambda: now + 5.1)
        await client.get(server.url)
        assert server.connections == 2


async def test_what_a_server_sends_unasked_ends_its_connection(client: GuardedClient) -> None:
    async def answer(_: Received, writer: asyncio.StreamWriter) -> None:
        respond(writer, 200, b"hello")
        respond(writer, 200, b"forged answer to the next request")

    async with WireServer(answer) as server:
        for _ in range(3):
            assert (await client.get(server.url)).text == "hello"
        assert server.connections == 3


async def test_a_body_left_unread_ends_its_connection(client: GuardedClient) -> None:
    async def answer(_: Received, writer: asyncio.StreamWriter) -> None:
        respond(writer, 200, b"x" * 1_000_000)

    async with WireServer(answer) as server:
        for number in (1, 2):
            async with client.stream("GET", server.url) as response:
                assert response.status_code == 200
            assert server.connections == number


async def test_a_full_pool_makes_room_or_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_client, "MAX_CONNECTIONS", 1)
    asked, gate = asyncio.Event(), asyncio.Event()

    async def slow(_: Received, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await gate.wait()
        respond(writer, 200, b"slow")

    async with guarded_client(POLICY) as client, WireServer(_hello) as one, WireServer(slow) as two:
        await client.get(one.url)
        # The idle connection to another origin goes for this one.
        first = asyncio.create_task(client.get(two.url))
        await asked.wait()
        with pytest.raises(httpx2.PoolTimeout):
            await client.get(one.url, timeout=httpx2.Timeout(5, pool=0.05))
        waiting = asyncio.create_task(client.get(one.url))
        gone = asyncio.create_task(client.get(one.url))
        await asyncio.sleep(0.01)
        gone.cancel()
        gate.set()
        assert (await first).text == "slow"
        assert (await waiting).text == "hello"
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert one.connections == 2


async def test_failed_connections_leave_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_client, "MAX_CONNECTIONS", 1)
    async with guarded_client(POLICY) as client, WireServer(_hello) as server:
        closed = WireServer(_hello)
        async with closed:
            url = closed.url
        for _ in range(3):
            with pytest.raises(httpx2.ConnectError):
                await client.get(url)
        assert (await client.get(server.url)).text == "hello"


async def _pressed(tls: bool) -> None:
    async def answer(request: Received, writer: asyncio.StreamWriter) -> None:
        assert len(request.body) == 4 << 20
        respond(writer, 200, b"d" * (8 << 20))

    async def resolver(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1"]

    scheme = "https" if tls else "http"
    async with (
        WireServer(answer, tls=server_tls() if tls else None) as server,
        guarded_client(POLICY, resolver=resolver, ssl_context=client_tls()) as client,
    ):
        url = f"{scheme}://secure.example:{server.port}/"
        for _ in range(2):
            async with client.stream("POST", url, content=b"u" * (4 << 20)) as response:
                await asyncio.sleep(0.02)  # the answer comes faster than it is read
                seen = 0
                async for part in response.aiter_raw():
                    seen += len(part)
            assert seen == 8 << 20
        assert server.connections == 1


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_large_bodies_on_both_loops(
    factory: Callable[[], asyncio.AbstractEventLoop], tls: bool
) -> None:
    _run(factory, _pressed(tls))


def _run(factory: Callable[[], asyncio.AbstractEventLoop], work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(work)


async def test_a_server_that_is_silent_or_takes_nothing(client: GuardedClient) -> None:
    async def silent(_: Received, _writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with WireServer(silent) as server:
        with pytest.raises(httpx2.ReadTimeout):
            await client.get(server.url, timeout=0.05)

    # Never accepted: the kernel takes what its buffers hold, and no more.
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    with pytest.raises(httpx2.WriteTimeout):
        await client.post(f"http://127.0.0.1:{port}/", content=b"x" * (64 << 20), timeout=0.2)
    listening.close()


async def test_an_answer_before_the_whole_request_is_read(client: GuardedClient) -> None:
    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        await reader.read(-1)
        writer.close()

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * 1000

    server = await asyncio.start_server(early, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    answer = await client.post(f"http://127.0.0.1:{port}/", content=parts())
    assert answer.status_code == 413
    server.close()
