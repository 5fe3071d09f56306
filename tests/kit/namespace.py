"""The network that requests are tried in: a namespace where every address there is answers.

Run inside `unshare -Urnm`. All of IPv4 and IPv6 is routed to the loopback device as local, so that
one server on port 80 is every host of the world; a packet socket counts what goes where.
"""

import asyncio
import select
import socket
import struct
import subprocess
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path
from typing import Self

RESOLVER = "9.9.9.9"
# Where connections over IPv6 come from, as an address of this machine on the internet.
OWN_IPV6 = "2606:2800:220:1::5"
WEB = 80
_ETH_IP, _ETH_IPV6, _ETH_ALL = 0x0800, 0x86DD, 0x0003
_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_A, _AAAA = 1, 28


def build() -> None:
    """Make every address local, and ask one of them for names."""
    for command in (
        "ip link set lo up",
        "ip -4 route add local 0.0.0.0/0 dev lo",
        "ip -6 route add local ::/0 dev lo",
        f"ip -6 addr add {OWN_IPV6}/128 dev lo nodad",
    ):
        subprocess.run(command.split(), check=True)
    with tempfile.NamedTemporaryFile("w", suffix=".conf", delete=False) as file:
        file.write(f"nameserver {RESOLVER}\noptions timeout:1 attempts:1\n")
    Path(file.name).chmod(0o644)
    subprocess.run(["mount", "--bind", file.name, "/etc/resolv.conf"], check=True)


def plain(text: str) -> str:
    """Write an address one way, whichever way it came; IPv4 where it is a mapped one."""
    address = ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


class Sniffer:
    """Counts the packets to every address that is not an expected one."""

    def __init__(self, expected: Iterable[str]) -> None:
        self._expected = frozenset(plain(one) for one in expected)
        self.packets: Counter[str] = Counter()
        self.dropped = 0
        self._stop = threading.Event()
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024 * 1024)
        self._socket.bind(("lo", 0))
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        raw = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        self.dropped = struct.unpack("II", raw)[1]
        self._socket.close()

    def _run(self) -> None:
        # After the end has been asked for: whatever is in the buffer still.
        while not self._stop.is_set() or select.select([self._socket], [], [], 0.2)[0]:
            if select.select([self._socket], [], [], 0.1)[0]:
                packet, (_, kind, direction, *_) = self._socket.recvfrom(65535)
                target = _target(kind, packet)
                # Each packet of the loopback device is seen going out and coming in: one counts.
                if direction == socket.PACKET_OUTGOING and target and target not in self._expected:
                    self.packets[target] += 1


def _target(kind: int, packet: bytes) -> str | None:
    frame = packet[14:]
    if kind == _ETH_IP:
        return socket.inet_ntop(socket.AF_INET, frame[16:20])
    if kind == _ETH_IPV6:
        return plain(socket.inet_ntop(socket.AF_INET6, frame[24:40]))
    return None


class World:
    """Every web server of the world, on port 80; one connection serves one request."""

    def __init__(self) -> None:
        self.reached: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        self._servers = [
            await asyncio.start_server(self._serve, host, WEB) for host in ("0.0.0.0", "::")
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reached[plain(writer.get_extra_info("sockname")[0])] += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            await self._answer(head.split(" ")[1], writer)
        except (asyncio.IncompleteReadError, ConnectionError, IndexError):
            return
        finally:
            writer.close()

    async def _answer(self, target: str, writer: asyncio.StreamWriter) -> None:
        if target.startswith("/redirect/"):
            _, _, status, location = target.split("/", 3)
            extra = f"Location: {bytes.fromhex(location).decode()}\r\n"
        else:
            status, extra = "200", ""
        head = f"HTTP/1.1 {status} X\r\n{extra}Content-Length: 7\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + b"reached")
        await writer.drain()


class Names(asyncio.DatagramProtocol):
    """A name server: each name has lists of answers, the last of which is given for ever."""

    def __init__(self, zone: dict[str, list[list[str]]]) -> None:
        self._zone = zone
        self.asked: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(
            lambda: self, local_addr=(RESOLVER, 53)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self._transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer a question by its name and type; an unknown name does not exist."""
        labels, at = [], 12
        while data[at]:
            labels.append(data[at + 1 : at + 1 + data[at]].decode())
            at += data[at] + 1
        kind = struct.unpack("!H", data[at + 1 : at + 3])[0]
        name, question = ".".join(labels).lower(), data[12 : at + 5]
        lists = self._zone.get(name)
        answers: list[bytes] = []
        if lists is not None:
            turn = min(self.asked[f"{name} {kind}"], len(lists) - 1)
            self.asked[f"{name} {kind}"] += 1
            for one in lists[turn]:
                address = ip_address(one)
                if (address.version == 4) == (kind == _A):
                    raw = address.packed
                    answers.append(b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 0, len(raw)) + raw)
        flags = 0x8180 if lists is not None else 0x8183
        head = data[:2] + struct.pack("!HHHHH", flags, 1, len(answers), 0, 0)
        self._transport.sendto(head + question + b"".join(answers), addr)
