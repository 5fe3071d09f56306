"""The guard against a corpus of addresses and ways to write them."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given, strategies

from activities._ssrf import (
    ForbiddenTargetError,
    TargetPolicy,
    embedded,
    is_never,
    is_public,
)
from tests.kit.targets import INTERNAL, METADATA, PUBLIC


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
