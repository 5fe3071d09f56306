"""The guard against a corpus of addresses and ways to write them."""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest
from hypothesis import given, strategies

from activities._ssrf import (
    ForbiddenTargetError,
    TargetPolicy,
    embedded,
    is_never,
    is_public,
)

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
    "fd00:c1::a9fe:a9fe",
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
    "64:ff9b:1:a9fe:a9:fe00::",  # RFC 6052 with a prefix of 48 bits
    "2a00:1450:4001:81b:0:5efe:a9fe:a9fe",  # ISATAP
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
    "2a00:1450:4001:81b:200:5efe:10.0.0.1",
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
        r"(Async|Guarded)Client\(|httpx2\.(get|post|Client)\b|urllib\.request|import requests"
    )
    found = {
        str(path.relative_to(repository))
        for package in ("activities", "api", "db", "schemas", "web", "workflows")
        for path in (repository / package).rglob("*.py")
        if openers.search(path.read_text())
    }
    assert found == {"activities/_client.py"}
