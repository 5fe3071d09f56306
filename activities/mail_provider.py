"""Ways for mail to leave: the interface that each implements, and those that are installed."""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from functools import partial
from importlib.metadata import entry_points
from typing import Protocol

import httpx2

from activities._mail_target import MailTargets
from activities.errors import ActionError
from activities.vault import Connection
from schemas.errors import ErrorCode

ENTRY_POINTS = "sojourn.mail_providers"
# The kinds of connection that can send mail.
KINDS = ("smtp", "gmail", "mail")
# Providers that are kept, with the tokens and connections that they hold.
_KEPT = 100


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the other side said.

    `refused` maps a recipient to its refusal, the others are accepted; `provider_id` is the
    message's id there, where it has one.
    """

    response: str
    refused: dict[str, str] = field(default_factory=dict)
    provider_id: str | None = None


class MailProvider(Protocol):
    """Hands mails over for one connection."""

    async def send(
        self,
        message: EmailMessage,
        *,
        sender: str,
        recipients: Sequence[str],
        seconds: float,
    ) -> Delivery:
        """Hand a message over within `seconds`; at least one recipient accepted means delivered.

        `recipients` are the addresses of To, Cc and Bcc; the message has no Bcc header. Raises
        ActionError: EMAIL_REJECTED where the message is refused, UNAUTHORIZED for credentials,
        RATE_LIMITED, STEP_TIMEOUT or STEP_FAILED; `retryable` says if another attempt can help.
        """
        ...


Factory = Callable[[Connection, httpx2.AsyncClient], MailProvider]


class MailProviders:
    """The providers of this process: `smtp`, `gmail`, and installed ones.

    An entry point of the group `sojourn.mail_providers` names a function that is given the
    connection and the guarded HTTP client. A connection of kind `mail` says the entry point's name
    in its `provider`.
    """

    def __init__(
        self, client: Callable[[], httpx2.AsyncClient], targets: MailTargets | None = None
    ) -> None:
        """Take a function that gives the HTTP client, which is made when one needs it.

        Without `targets` only public mail servers are reached.
        """
        self._client = client
        self._targets = targets or MailTargets.of()
        self._kept: OrderedDict[bytes, MailProvider] = OrderedDict()
        self._factories: dict[str, Factory] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The providers' names."""
        return tuple(self._load())

    def of(self, connection: Connection) -> MailProvider:
        """Give the provider of a connection: the same one as long as the connection is unchanged.

        Raises ActionError INVALID_INPUT for a provider that is not installed.
        """
        name = connection.config["provider"] if connection.kind == "mail" else connection.kind
        factory = self._load().get(name)
        if factory is None:
            raise ActionError(
                f"there is no mail provider named {name!r}",
                code=ErrorCode.INVALID_INPUT,
                retryable=False,
                hint=f"installed are: {', '.join(self.names)}",
            )
        parts = [connection.kind, connection.name, connection.config, connection.secrets]
        key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).digest()
        if key not in self._kept:
            self._kept[key] = factory(connection, self._client())
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]

    def _load(self) -> dict[str, Factory]:
        if self._factories is None:
            # Imported here: they need this module's types.
            from activities._gmail import GmailProvider
            from activities._smtp import SmtpProvider

            found: dict[str, Factory] = {
                "smtp": partial(SmtpProvider.of_connection, targets=self._targets),
                "gmail": GmailProvider,
            }
            for point in entry_points(group=ENTRY_POINTS):
                if point.name in found:
                    raise ValueError(f"two mail providers are named {point.name!r}")
                found[point.name] = point.load()
            self._factories = found
        return self._factories
