"""Where a mail goes out: a stored connection, or the configured mail server."""

from dataclasses import dataclass

from activities._smtp import SmtpProvider
from activities.mail_provider import KINDS, MailProvider
from activities.services import Services
from schemas.mail import MailPolicy

# Seconds over which a minute's mails are spread: timers are late by parts of a second or two, and
# yet no minute may see more mails than the rate says.
_SPREAD = 62.5


@dataclass(frozen=True, slots=True)
class MailRoute:
    """A way out; `name` is the connection's, "" for the configured server."""

    name: str
    provider: MailProvider
    from_address: str | None
    reply_to: str | None
    policy: MailPolicy

    @property
    def interval(self) -> float | None:
        """Seconds between the places of two mails; None without a rate."""
        rate = self.policy.rate_per_minute
        return None if rate is None else _SPREAD / rate


async def route_of(services: Services, workspace: str, connection: str | None) -> MailRoute:
    """Give the way of a step's mail; raises ActionError INVALID_INPUT for a wrong connection."""
    config = services.mail
    if connection is None:
        return MailRoute("", SmtpProvider(config), config.from_address, None, config.policy)
    found = await services.vault.connection(workspace, connection, *KINDS)
    policy = MailPolicy.model_validate(
        {name: found.config[name] for name in MailPolicy.model_fields if name in found.config}
    )
    return MailRoute(
        name=found.name,
        provider=services.mail_providers.of(found),
        from_address=found.config.get("from_address")
        or found.config.get("user")
        or config.from_address,
        reply_to=found.config.get("reply_to"),
        policy=policy,
    )
