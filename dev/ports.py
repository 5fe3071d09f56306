"""Free TCP ports on loopback."""

import errno
import socket
from contextlib import closing

from dev.errors import StackError

HOST = "127.0.0.1"
SPAN = 100


def is_free(port: int) -> bool:
    """Whether nothing listens on the port and it can be bound."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        # As servers bind: connections of a predecessor in TIME_WAIT are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


class PortClaims:
    """Ports that one instance has picked and whose servers do not listen yet, or do by now.

    Two instances that start at once would both find a port free: a server listens only seconds
    after its port was picked. So each picked port is claimed by binding the UDP port of the same
    number, which the kernel gives to one process and takes back when that ends.
    """

    def __init__(self) -> None:
        """Claim nothing yet."""
        self._claims: dict[int, socket.socket] = {}

    def pick(self, wanted: int, *, span: int = SPAN) -> int:
        """Claim `wanted`, or the next free port within `span`; raises StackError without any."""
        last = min(wanted + span, 65536)
        for port in range(wanted, last):
            if port not in self._claims and is_free(port) and self._claim(port):
                return port
        raise StackError(
            f"no free port from {wanted} to {last - 1}",
            "stop what listens there, or choose another port with --port",
        )

    def release(self) -> None:
        """Give all of them back."""
        while self._claims:
            self._claims.popitem()[1].close()

    def _claim(self, port: int) -> bool:
        claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            claim.bind((HOST, port))
        except OSError as error:
            claim.close()
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
        self._claims[port] = claim
        return True


def any_port() -> int:
    """Give a port that the kernel says is free now."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]
