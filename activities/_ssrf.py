"""Which addresses an outgoing request may reach, decided when the connection is made.

A check of the URL alone is unsound: names resolve again at connect time (DNS rebinding), and the
resolver reads `0x7f.1` or `2130706433` as 127.0.0.1. So whoever connects (the network backend of
the HTTP pool, and mail) resolves once, judges every answer, and connects to the literal address.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

import httpcore2

from activities._streams import LoopBackend
from activities.errors import ActionError
from schemas.errors import ErrorCode

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Resolver = Callable[[str, int], Awaitable[list[str]]]

# IANA IPv4 and IPv6 special-purpose address registries, everything that is not plain unicast.
_NOT_PUBLIC_V4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
    )
)
_PUBLIC_V6 = IPv6Network("2000::/3")
_NOT_PUBLIC_V6 = tuple(
    IPv6Network(text)
    for text in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
)
# Metadata services of the clouds and the link they sit on: no allow list opens these.
_NEVER: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "169.254.0.0/16",  # link-local: AWS, GCP, Azure, OpenStack, ECS, Tencent, Scaleway
        "fe80::/10",
        "100.100.100.200/32",  # Alibaba Cloud
        "168.63.129.16/32",  # Azure's wire server
        "192.0.0.192/32",  # Oracle Cloud
        "fd00:ec2::/32",  # AWS over IPv6
        "fd00:42::42/128",  # Scaleway over IPv6
        "fd20:ce::254/128",  # GCP over IPv6
        "fd00:c1::a9fe:a9fe/128",  # Oracle Cloud over IPv6
    )
)
_MAPPED = IPv6Network("::ffff:0:0/96")
_NAT64 = IPv6Network("64:ff9b::/96")
# Prefix and the shift that leaves the embedded IPv4 address in the low 32 bits.
_EMBEDDINGS: tuple[tuple[IPv6Network, int], ...] = (
    (_MAPPED, 0),
    (IPv6Network("::ffff:0:0:0/96"), 0),  # IPv4-translated, RFC 2765
    (IPv6Network("::/96"), 0),  # IPv4-compatible, RFC 4291
    (_NAT64, 0),  # RFC 6052
    (IPv6Network("64:ff9b:1::/48"), 0),  # local-use NAT64, RFC 8215
    (IPv6Network("2002::/16"), 80),  # 6to4, RFC 3056
    (IPv6Network("2001::/32"), 64),  # Teredo: the server, RFC 4380
)
_TEREDO = IPv6Network("2001::/32")
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")
# The upper half of an interface identifier that ISATAP puts an IPv4 address behind, RFC 5214.
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})
WEB_PORTS = frozenset({80, 443})
_HTTP_SETTINGS = ("SOJOURN_HTTP_ALLOW_CIDRS", "SOJOURN_HTTP_ALLOW_PORTS")


class ForbiddenTargetError(ActionError):
    """The target of a request is not one that Sojourn may reach."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        """Build the refusal; another attempt never helps."""
        super().__init__(message, code=ErrorCode.FORBIDDEN, retryable=False, hint=hint)


def embedded(address: Address) -> list[IPv4Address]:
    """Give the IPv4 addresses that an IPv6 address carries inside, in every known scheme."""
    if isinstance(address, IPv4Address):
        return []
    value = int(address)
    found = [
        IPv4Address((value >> shift) & 0xFFFFFFFF)
        for network, shift in _EMBEDDINGS
        if address in network
    ]
    if address in _TEREDO:
        found.append(IPv4Address(~value & 0xFFFFFFFF))  # the client, stored inverted
    if address in _LOCAL_NAT64:
        # RFC 6052, 2.2: with 48 bits of prefix the address stands around the byte at bit 64.
        high, low = (value >> 64) & 0xFFFF, (value >> 40) & 0xFFFF
        found.append(IPv4Address(high << 16 | low))
    if (value >> 32) & 0xFFFFFFFF in _ISATAP:
        found.append(IPv4Address(value & 0xFFFFFFFF))
    return found


def is_never(address: Address) -> bool:
    """True for a metadata or link-local address, however it is written."""
    return any(
        one.version == network.version and one in network
        for one in (address, *embedded(address))
        for network in _NEVER
    )


def is_public(address: Address) -> bool:
    """True for plain unicast addresses of the internet, mapped and NAT64 forms of them included."""
    if is_never(address):
        return False
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_V4)
    if address.scope_id is not None:
        return False
    if not all(is_public(inner) for inner in embedded(address)):
        return False
    if address in _MAPPED or address in _NAT64:
        return True
    return address in _PUBLIC_V6 and not any(address in network for network in _NOT_PUBLIC_V6)


@dataclass(frozen=True, slots=True)
class TargetPolicy:
    """What may be reached: public addresses on usual ports, and what the operator adds.

    `networks` open internal ranges; `origins` are `(host, port)` pairs the operator named in the
    settings, whose addresses need not be public. Metadata addresses stay closed to both.
    `settings` are the names of those that would open more ranges and ports, for hints.
    """

    networks: tuple[Network, ...] = ()
    ports: frozenset[int] = WEB_PORTS
    origins: frozenset[tuple[str, int]] = field(default_factory=frozenset)
    settings: tuple[str, str] = _HTTP_SETTINGS

    @classmethod
    def of(
        cls,
        cidrs: Iterable[str] = (),
        ports: Iterable[int] = (),
        origins: Iterable[tuple[str, int]] = (),
        *,
        usual: frozenset[int] = WEB_PORTS,
        settings: tuple[str, str] = _HTTP_SETTINGS,
    ) -> "TargetPolicy":
        """Build a policy from settings; raises ValueError for a range that is none."""
        return cls(
            networks=tuple(ip_network(cidr.strip()) for cidr in cidrs),
            ports=frozenset({*usual, *ports}),
            origins=frozenset((host.lower(), port) for host, port in origins),
            settings=settings,
        )

    def check_port(self, host: str, port: int) -> None:
        """Refuse a port that is neither a usual one nor opened by the operator."""
        if port not in self.ports and (host.lower(), port) not in self.origins:
            raise ForbiddenTargetError(
                f"port {port} of {host} is not open to requests",
                hint=f"the operator may open it with {self.settings[1]}",
            )

    def check_address(self, host: str, port: int, address: Address) -> None:
        """Refuse an address that is neither public nor opened by the operator."""
        if is_never(address):
            raise ForbiddenTargetError(
                f"{host} leads to {address}, a metadata or link-local address"
            )
        if is_public(address) or (host.lower(), port) in self.origins:
            return
        inner = embedded(address) if address in _MAPPED or address in _NAT64 else []
        if any(
            one.version == network.version and one in network
            for one in (address, *inner)
            for network in self.networks
        ):
            return
        raise ForbiddenTargetError(
            f"{host} leads to {address}, which is not a public address",
            hint=f"the operator may open internal ranges with {self.settings[0]}",
        )


async def system_resolver(host: str, port: int) -> list[str]:
    """Resolve a name with the system's resolver; raises OSError where that fails."""
    answers = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(answer[4][0]) for answer in answers))


async def judged(
    policy: TargetPolicy, host: str, port: int, resolver: Resolver = system_resolver
) -> list[Address]:
    """Resolve a name once and give its addresses, every one of which the policy lets through.

    Refuses all of them if ANY is forbidden: a mixed answer is an attack. Raises
    ForbiddenTargetError, and OSError where the name has no address.
    """
    policy.check_port(host, port)
    try:
        addresses = [ip_address(answer) for answer in await resolver(host, port)]
    except ValueError as error:  # UnicodeError too: a name that no resolver takes
        raise OSError(f"{host} cannot be resolved: {error}") from error
    if not addresses:
        raise OSError(f"{host} has no address")
    for address in addresses:
        policy.check_address(host, port, address)
    return addresses


class GuardedBackend(httpcore2.AsyncNetworkBackend):
    """A network backend that connects only where the policy lets it.

    It connects to the addresses that were judged; TLS still verifies the certificate by name.
    """

    def __init__(
        self,
        policy: TargetPolicy,
        *,
        resolver: Resolver = system_resolver,
        inner: httpcore2.AsyncNetworkBackend | None = None,
    ) -> None:
        """Guard `inner` (sockets by default); `resolver` gives the addresses of a name."""
        self._policy = policy
        self._resolver = resolver
        self._inner = inner or LoopBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Resolve, judge, connect; raises ForbiddenTargetError or httpcore2's ConnectError."""
        try:
            async with asyncio.timeout(timeout):
                addresses = await judged(self._policy, host, port, self._resolver)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout(f"resolving {host} took too long") from error
        except OSError as error:
            raise httpcore2.ConnectError(f"{host} cannot be resolved: {error}") from error
        return await self._first(addresses, port, timeout, local_address, socket_options)

    async def _first(
        self,
        addresses: list[Address],
        port: int,
        timeout: float | None,
        local_address: str | None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None,
    ) -> httpcore2.AsyncNetworkStream:
        share = None if timeout is None else timeout / len(addresses)
        failure: Exception = httpcore2.ConnectError("no address left to try")
        for address in addresses:
            try:
                return await self._inner.connect_tcp(
                    str(address), port, share, local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure

    async def connect_unix_socket(
        self,
        path: str,  # noqa: ARG002
        timeout: float | None = None,  # noqa: ARG002
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> httpcore2.AsyncNetworkStream:
        """Refuse: no request leaves through a socket file."""
        raise ForbiddenTargetError("requests over unix sockets are not allowed")
