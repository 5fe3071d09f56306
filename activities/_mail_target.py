"""Which mail servers the connections of workspaces may lead to.

The operator's own server, of SMTP_URL, does not pass here: it may stand anywhere.
"""

import asyncio
import socket
from dataclasses import dataclass

from activities._ssrf import Resolver, TargetPolicy, judged, system_resolver

# SMTP, submission with implicit and explicit TLS, the usual spare one; IMAP plain and with TLS.
MAIL_PORTS = frozenset({25, 465, 587, 2525, 143, 993})
_SETTINGS = ("SOJOURN_MAIL_ALLOW_CIDRS", "SOJOURN_MAIL_ALLOW_PORTS")


@dataclass(frozen=True, slots=True)
class MailTargets:
    """Connects to mail servers at public addresses, and at those the operator has opened."""

    policy: TargetPolicy
    resolver: Resolver = system_resolver

    @classmethod
    def of(cls, cidrs: tuple[str, ...] = (), ports: tuple[int, ...] = ()) -> "MailTargets":
        """Open ranges and ports beside the public ones; raises ValueError for a wrong range."""
        return cls(TargetPolicy.of(cidrs, ports, usual=MAIL_PORTS, settings=_SETTINGS))

    async def connect(self, host: str, port: int, seconds: float) -> socket.socket:
        """Give a connected, non-blocking socket, whose address was judged.

        Raises ForbiddenTargetError, TimeoutError, and OSError where no address answers.
        """
        async with asyncio.timeout(seconds):
            addresses = await judged(self.policy, host, port, self.resolver)
            failure: OSError | None = None
            for address in addresses:
                family = socket.AF_INET if address.version == 4 else socket.AF_INET6
                link = socket.socket(family, socket.SOCK_STREAM)
                link.setblocking(False)
                try:
                    async with asyncio.timeout(seconds / len(addresses)):
                        await asyncio.get_running_loop().sock_connect(link, (str(address), port))
                except OSError as error:  # TimeoutError is one
                    link.close()
                    failure = error
                except BaseException:
                    link.close()
                    raise
                else:
                    return link
        assert failure is not None, "there is at least one address"
        raise failure
