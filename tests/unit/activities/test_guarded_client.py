"""The guarded client: no way to write a URL, and no resolver, leads it to a closed address."""

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator
from typing import cast

import httpcore2
import httpx2
import pytest

from activities._client import guarded_client
from activities._ssrf import (
    ForbiddenTargetError,
    GuardedBackend,
    TargetPolicy,
)
from activities._urls import check_url
from activities.errors import ActionError
from tests.kit.targets import HOSTILE_URLS
from tests.servers.wire import Received, WireServer, client_tls, respond, server_tls


@pytest.fixture
async def sink() -> AsyncIterator[WireServer]:
    async def answer(request: Received, writer: asyncio.StreamWriter) -> None:
        respond(writer, 200, b"reached")

    async with WireServer(answer) as server:
        yield server


def test_there_are_enough_url_forms() -> None:
    assert len(HOSTILE_URLS) >= 25


@pytest.mark.parametrize("form", HOSTILE_URLS)
async def test_no_way_to_write_a_url_reaches_loopback(
    form: str, sink: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, sink.url)
    policy = TargetPolicy.of(ports=range(1, 65536))
    async with guarded_client(policy) as client:
        text = form.format(port=sink.port)
        try:
            url = check_url(text)
        except ValueError:
            return
        with pytest.raises((ForbiddenTargetError, httpx2.TransportError)):
            await client.get(url, timeout=5)
    assert sink.connections == 0


async def test_a_rebinding_resolver_is_asked_once(sink: WireServer) -> None:
    answers = [["93.184.216.34"], ["127.0.0.1"], ["127.0.0.1"]]
    asked: list[str] = []

    async def resolver(host: str, port: int) -> list[str]:
        asked.append(host)
        return answers[len(asked) - 1]

    connected: list[str] = []

    class Recording(httpcore2.AsyncNetworkBackend):
        async def connect_tcp(  # type: ignore[override]
            self, host: str, *arguments: object
        ) -> httpcore2.AsyncNetworkStream:
            connected.append(host)
            raise httpcore2.ConnectError("no network here")

    policy = TargetPolicy.of(ports=[sink.port])
    backend = GuardedBackend(policy, resolver=resolver, inner=Recording())
    with pytest.raises(httpcore2.ConnectError):
        await backend.connect_tcp("rebind.example", sink.port)
    assert asked == ["rebind.example"]
    assert connected == ["93.184.216.34"]
    # The next request resolves again, and is judged again.
    with pytest.raises(ForbiddenTargetError):
        await backend.connect_tcp("rebind.example", sink.port)
    assert connected == ["93.184.216.34"]
    assert sink.connections == 0


@pytest.mark.parametrize(
    "answer",
    [
        ["93.184.216.34", "127.0.0.1"],
        ["127.0.0.1", "93.184.216.34"],
        ["2606:4700:4700::1111", "::1"],
        ["93.184.216.34", "::ffff:10.0.0.1"],
    ],
)
async def test_a_mixed_answer_is_refused_whole(answer: list[str]) -> None:
    async def resolver(host: str, port: int) -> list[str]:
        return answer

    backend = GuardedBackend(TargetPolicy.of(), resolver=resolver)
    with pytest.raises(ForbiddenTargetError):
        await backend.connect_tcp("mixed.example", 80)


async def test_the_next_address_is_tried_where_one_does_not_answer(sink: WireServer) -> None:
    async def resolver(host: str, port: int) -> list[str]:
        return ["127.0.0.2", "127.0.0.1"]

    policy = TargetPolicy.of(["127.0.0.0/8"], [sink.port])
    async with guarded_client(policy, resolver=resolver) as client:
        # The sink listens on 127.0.0.1 alone.
        response = await client.get(f"http://two.example:{sink.port}/")
    assert response.text == "reached"
    assert sink.requests[0].headers["host"] == f"two.example:{sink.port}"


async def test_unknown_names_and_slow_resolvers_are_connection_errors() -> None:
    async def unknown(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    async def empty(host: str, port: int) -> list[str]:
        return []

    async def stuck(host: str, port: int) -> list[str]:
        await asyncio.Event().wait()
        raise AssertionError

    for resolver, error in (
        (unknown, httpcore2.ConnectError),
        (empty, httpcore2.ConnectError),
        (stuck, httpcore2.ConnectTimeout),
    ):
        backend = GuardedBackend(TargetPolicy.of(), resolver=resolver)
        with pytest.raises(error):
            await backend.connect_tcp("nowhere.example", 80, 0.05)


async def test_unix_sockets_are_refused() -> None:
    with pytest.raises(ForbiddenTargetError):
        await GuardedBackend(TargetPolicy.of()).connect_unix_socket("/run/docker.sock")


async def test_cookies_are_not_kept() -> None:
    async def answer(request: Received, writer: asyncio.StreamWriter) -> None:
        respond(writer, 200, b"", {"set-cookie": "session=secret; Path=/"})

    async with WireServer(answer) as server:
        policy = TargetPolicy.of(["127.0.0.0/8"], [server.port])
        async with guarded_client(policy) as client:
            await client.get(server.url)
            await client.get(server.url)
        assert len(server.requests) == 2
        assert "cookie" not in server.requests[1].headers


async def test_the_transport_refuses_synchronous_bodies() -> None:
    async with guarded_client(TargetPolicy.of()) as client:
        request = httpx2.Request("POST", "http://example.com/", content=iter([b"x"]))
        with pytest.raises((TypeError, RuntimeError)):
            await client.send(cast(httpx2.Request, request))


@pytest.mark.parametrize(("name", "good"), [("secure.example", True), ("other.example", False)])
async def test_certificates_are_checked_by_name_though_the_address_is_dialled(
    name: str, good: bool
) -> None:
    async def resolver(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    async def answer(request: Received, writer: asyncio.StreamWriter) -> None:
        respond(writer, 200, b"secret")

    async with WireServer(answer, tls=server_tls()) as server:
        policy = TargetPolicy.of(["127.0.0.0/8"], [server.port])
        url = f"https://{name}:{server.port}/"
        async with guarded_client(policy, resolver=resolver, ssl_context=client_tls()) as client:
            if good:
                assert (await client.get(url)).text == "secret"
            else:
                with pytest.raises(httpx2.ConnectError):
                    await client.get(url)
        # The system's authorities do not know the test's.
        async with guarded_client(policy, resolver=resolver) as client:
            with pytest.raises(httpx2.ConnectError):
                await client.get(url)


async def test_sdks_get_no_compressed_answers_and_follow_no_redirects() -> None:
    async def answer(request: Received, writer: asyncio.StreamWriter) -> None:
        if request.target == "/onward":
            respond(writer, 302, b"", {"location": "/zipped"})
        else:
            respond(writer, 200, gzip.compress(b"x" * 1000), {"content-encoding": "gzip"})

    async with WireServer(answer) as server:
        policy = TargetPolicy.of(["127.0.0.0/8"], [server.port])
        async with guarded_client(policy) as client:
            with pytest.raises(ActionError, match="not asked for"):
                await client.get(f"{server.url}/zipped", headers={"accept-encoding": "gzip, br"})
            response = await client.get(f"{server.url}/onward", follow_redirects=True)
        assert response.status_code == 302
        assert [one.headers["accept-encoding"] for one in server.requests] == ["identity"] * 2
