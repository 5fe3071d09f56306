"""The guard against a corpus of addresses and ways to write them."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import cast

import httpcore2
import httpx2
import pytest
from hypothesis import given, strategies

from activities._client import guarded_client
from activities._ssrf import (
    ForbiddenTargetError,
    GuardedBackend,
    TargetPolicy,
    embedded,
    is_never,
    is_public,
)
from activities.http import check_url
from tests.servers.wire import Received, WireServer, client_tls, respond, server_tls

METADATA = [
    "169.254.169.254",
    "169.254.170.2",
    "169.254.170.23",
    "169.254.0.23",
    "169.254.42.42",
    "169.254.1.1",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "fd00:42::42",
    "fd20:ce::254",
    "fe80::a9fe:a9fe",
    "fe80::1",
    "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe",
    "::ffff:0:169.254.169.254",
    "::169.254.169.254",
    "64:ff9b::169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::a9fe:a9fe",
    "2002:a9fe:a9fe::",
    "2002:a9fe:a9fe::1",
    "2001:0:a9fe:a9fe::",
    "2001:0:808:808:0:0:5601:5601",  # Teredo whose client is 169.254.169.254
    "64:ff9b::168.63.129.16",
    "::ffff:100.100.100.200",
]
INTERNAL = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.127.255.254",
    "127.0.0.1",
    "127.1.2.3",
    "127.255.255.255",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.170",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "192.168.255.255",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:192.168.1.1",
    "::ffff:0:127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:0:7f00:1::",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:c0a8:1::1",
    "2002:808:808::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd12:3456::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "2606:4700::1%eth0",
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.216.34",
    "100.63.255.255",
    "100.128.0.1",
    "172.15.255.255",
    "172.32.0.1",
    "192.0.1.1",
    "192.167.255.255",
    "198.17.255.255",
    "198.20.0.1",
    "223.255.255.255",
    "11.0.0.1",
    "9.255.255.255",
    "128.0.0.1",
    "2606:4700:4700::1111",
    "2001:4860:4860::8888",
    "2a00:1450:4001:81b::200e",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
]


def test_the_corpus_is_large_enough() -> None:
    assert len(METADATA) + len(INTERNAL) >= 60


@pytest.mark.parametrize("text", METADATA)
def test_metadata_is_closed_even_to_an_allow_list_of_everything(text: str) -> None:
    policy = TargetPolicy.of(["0.0.0.0/0", "::/0"], origins=[("host", 80)])
    assert is_never(ip_address(text))
    with pytest.raises(ForbiddenTargetError):
        policy.check_address("host", 80, ip_address(text))


@pytest.mark.parametrize("text", METADATA + INTERNAL)
def test_addresses_that_are_not_public_are_refused(text: str) -> None:
    assert not is_public(ip_address(text))
    with pytest.raises(ForbiddenTargetError) as caught:
        TargetPolicy.of().check_address("host", 80, ip_address(text))
    assert caught.value.code == "FORBIDDEN"
    assert not caught.value.retryable


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_pass(text: str) -> None:
    assert is_public(ip_address(text))
    TargetPolicy.of().check_address("host", 443, ip_address(text))


def test_an_allow_list_opens_its_range_and_no_other() -> None:
    policy = TargetPolicy.of(["10.1.0.0/16", "fd12::/16"])
    for text in ("10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "fd12::1"):
        policy.check_address("host", 80, ip_address(text))
    for text in ("10.2.0.1", "127.0.0.1", "fd13::1", "2002:a01:203::"):
        with pytest.raises(ForbiddenTargetError):
            policy.check_address("host", 80, ip_address(text))


def test_ports() -> None:
    policy = TargetPolicy.of(ports=[8443], origins=[("Ollama.internal", 11434)])
    for host, port in (("a", 80), ("a", 443), ("a", 8443), ("ollama.internal", 11434)):
        policy.check_port(host, port)
    for host, port in (("a", 22), ("a", 25), ("a", 6379), ("a", 11434), ("ollama.internal", 22)):
        with pytest.raises(ForbiddenTargetError):
            policy.check_port(host, port)


def test_a_wrong_range_in_the_settings_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"10\.0\.0\.1/8"):
        TargetPolicy.of(["10.0.0.1/8"])


def test_embedded_addresses_are_found() -> None:
    found = {str(one) for one in embedded(ip_address("2001:0:0a01:0203:0:0:f5fe:fdfc"))}
    assert found == {"10.1.2.3"}
    assert [str(one) for one in embedded(ip_address("2002:0a01:0203::9"))] == ["10.1.2.3"]
    assert embedded(ip_address("1.2.3.4")) == []


# Ways to write a URL that leads, or seems to lead, to 127.0.0.1 or a metadata service.
HOSTILE_URLS = [
    "http://127.0.0.1:{port}/",
    "http://127.1:{port}/",
    "http://127.0.1:{port}/",
    "http://0x7f.1:{port}/",
    "http://0x7f000001:{port}/",
    "http://2130706433:{port}/",
    "http://017700000001:{port}/",
    "http://0177.0.0.1:{port}/",
    "http://0:{port}/",
    "http://0.0.0.0:{port}/",
    "http://localhost:{port}/",
    "http://LOCALHOST:{port}/",
    "http://localhost.:{port}/",
    "http://[::1]:{port}/",
    "http://[::]:{port}/",
    "http://[0:0:0:0:0:0:0:1]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/",
    "http://[64:ff9b::7f00:1]:{port}/",
    "http://①②⑦.⓪.⓪.①:{port}/",
    "http://127。0。0。1:{port}/",
    "http://%31%32%37.0.0.1:{port}/",
    "http://user@127.0.0.1:{port}/",
    "http://example.com@127.0.0.1:{port}/",
    "http://example.com:80@127.0.0.1:{port}/",
    "http://example.com\\@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}\\@example.com/",
    "http://127.0.0.1:{port}#@example.com/",
    "http://127.0.0.1:{port}?@example.com/",
    "http://169.254.169.254/latest/meta-data/",
    "http://0xa9fea9fe/",
    "http://2852039166/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://[::ffff:169.254.169.254]/",
    "http:///127.0.0.1:{port}/",
    "http:127.0.0.1:{port}/",
    "//127.0.0.1:{port}/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:{port}/_x",
    "ftp://127.0.0.1:{port}/",
    "unix:///var/run/docker.sock",
    "http://127.0.0.1 :{port}/",
    "http://127.0.0.1:{port}/\r\nHost: x",
]


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


@given(strategies.integers(0, 2**32 - 1).map(IPv4Address))
def test_no_public_ipv4_address_is_special(address: IPv4Address) -> None:
    if is_public(address):
        assert address.is_global
        assert not address.is_multicast


@given(
    strategies.one_of(
        strategies.integers(0, 2**128 - 1),
        strategies.integers(0x2000 << 112, (0x4000 << 112) - 1),
        strategies.integers(0, 2**32 - 1).map(lambda low: (0xFFFF << 32) | low),
        strategies.integers(0, 2**32 - 1).map(lambda low: (0x64FF9B << 96) | low),
        strategies.integers(0, 2**112 - 1).map(lambda low: (0x2002 << 112) | low),
    ).map(IPv6Address)
)
def test_no_public_ipv6_address_is_special_nor_hides_a_special_one(address: IPv6Address) -> None:
    if is_public(address):
        inner = embedded(address)
        assert all(is_public(one) for one in inner)
        assert inner or address.is_global


def test_one_place_opens_http_connections(repository: Path) -> None:
    openers = re.compile(
        r"AsyncClient\(|httpx2\.(get|post|Client)\b|urllib\.request|import requests"
    )
    found = {
        str(path.relative_to(repository))
        for package in ("activities", "api", "db", "schemas", "web", "workflows")
        for path in (repository / package).rglob("*.py")
        if openers.search(path.read_text())
    }
    assert found == {"activities/_client.py"}
