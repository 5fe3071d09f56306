"""Free TCP ports on loopback."""

import socket
from collections.abc import Collection
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


def pick_port(wanted: int, *, taken: Collection[int] = (), span: int = SPAN) -> int:
    """Give `wanted`, or the next free port within `span`; raises StackError when there is none."""
    last = min(wanted + span, 65536)
    for port in range(wanted, last):
        if port not in taken and is_free(port):
            return port
    raise StackError(
        f"no free port from {wanted} to {last - 1}",
        "stop what listens there, or choose another port with --port",
    )


def any_port() -> int:
    """Give a port that the kernel says is free now."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]
