"""What actions use of the world; a composition root builds it from the settings."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal
from urllib.parse import parse_qs, unquote, urlsplit

import httpx2

from activities._ai_config import AiConfig
from activities._client import GuardedClient, guarded_client
from activities._mail_target import MailTargets
from activities._sandbox import Sandbox
from activities._ssrf import TargetPolicy
from activities.functions import Functions
from activities.vault import Vault
from db.engine import Database
from schemas.keeping import Keep
from schemas.keyring import KeyRing
from schemas.mail import MailPolicy
from schemas.masking import Masking

if TYPE_CHECKING:
    from activities.mail_provider import MailProviders

Tls = Literal["none", "starttls", "opportunistic", "implicit"]
_TLS_OPTIONS: dict[str, Tls] = {
    "required": "starttls",
    "true": "starttls",
    "1": "starttls",
    "auto": "opportunistic",
    "false": "none",
    "0": "none",
}


@dataclass(frozen=True, slots=True)
class MailConfig:
    """How mail leaves; `from_address` may be `Name <address>`.

    `public_url` is where recipients reach this installation, without a slash at its end; `policy`
    is that of the configured server, connections have their own.

    `tls`: none, starttls (required), opportunistic (starttls if the server offers it), implicit.
    """

    host: str = "localhost"
    port: int = 1025
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: Tls = "opportunistic"
    from_address: str | None = None
    booking_url: str | None = None
    public_url: str | None = None
    policy: MailPolicy = field(default_factory=MailPolicy)

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        from_address: str | None = None,
        booking_url: str | None = None,
        public_url: str | None = None,
        policy: MailPolicy | None = None,
    ) -> "MailConfig":
        """Read `smtp://user:password@host:port?starttls=required|auto|false` or `smtps://…`.

        Raises ValueError for anything else; the message never holds the password.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
            raise ValueError("the SMTP URL must be smtp://host:port or smtps://host:port")
        implicit = parts.scheme == "smtps"
        option = parse_qs(parts.query).get("starttls", ["auto"])[0].lower()
        if option not in _TLS_OPTIONS:
            raise ValueError("starttls in the SMTP URL must be required, auto or false")
        return cls(
            host=parts.hostname,
            port=parts.port or (465 if implicit else 25),
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            tls="implicit" if implicit else _TLS_OPTIONS[option],
            from_address=from_address,
            booking_url=booking_url,
            public_url=public_url.rstrip("/") if public_url else None,
            policy=policy or MailPolicy(),
        )


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """What requests may reach beyond public addresses on ports 80 and 443."""

    allow_cidrs: tuple[str, ...] = ()
    allow_ports: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class MailHosts:
    """What mail connections may reach beyond public addresses on the ports of mail."""

    allow_cidrs: tuple[str, ...] = ()
    allow_ports: tuple[int, ...] = ()


@dataclass
class Services:
    """The database, mail, HTTP, AI and stored secrets of a worker.

    Build it inside the event loop that uses it, and `aclose` it there. `http` and `ai_http` are
    guarded clients: nothing else in Sojourn may open an HTTP connection.
    """

    database: Database | None = None
    mail: MailConfig = field(default_factory=MailConfig)
    mail_hosts: MailHosts = field(default_factory=MailHosts)
    http_config: HttpConfig = field(default_factory=HttpConfig)
    ai: AiConfig = field(default_factory=AiConfig)
    keyring: KeyRing | None = None
    ai_keep: Keep = Keep.FULL
    # The key of the process's own log, so that hashed addresses can be joined.
    masking: Masking = field(default_factory=lambda: Masking("sojourn"))
    code_enabled: bool = True
    functions: Functions = field(default_factory=Functions)

    @cached_property
    def vault(self) -> Vault:
        """The stored connections and secrets."""
        return Vault(self.database, self.keyring)

    @cached_property
    def mail_providers(self) -> "MailProviders":
        """The ways out that mail has beside the configured server."""
        # Imported here: they need the types of this module.
        from activities.mail_provider import MailProviders

        return MailProviders(lambda: self.http, self.mail_targets)

    @cached_property
    def mail_targets(self) -> MailTargets:
        """Where the mail connections of workspaces may lead."""
        return MailTargets.of(self.mail_hosts.allow_cidrs, self.mail_hosts.allow_ports)

    @cached_property
    def sandbox(self) -> Sandbox:
        """The processes of code steps."""
        return Sandbox()

    @cached_property
    def http_policy(self) -> TargetPolicy:
        """Where steps may send requests."""
        return TargetPolicy.of(self.http_config.allow_cidrs, self.http_config.allow_ports)

    @cached_property
    def http(self) -> GuardedClient:
        """The client of http steps."""
        return guarded_client(self.http_policy)

    @cached_property
    def ai_http(self) -> httpx2.AsyncClient:
        """The client of AI steps: the operator's base URLs are open to it."""
        return guarded_client(
            TargetPolicy.of(
                self.ai.allow_cidrs,
                self.ai.allow_ports,
                origins=[_origin(url) for url in self.ai.base_urls],
                settings=("SOJOURN_AI_ALLOW_CIDRS", "SOJOURN_AI_ALLOW_PORTS"),
            )
        )

    async def aclose(self) -> None:
        """Close the connections that were opened; the database is its owner's to close."""
        for name in ("http", "ai_http"):
            client = self.__dict__.pop(name, None)
            if isinstance(client, httpx2.AsyncClient):
                await client.aclose()
        sandbox = self.__dict__.pop("sandbox", None)
        if isinstance(sandbox, Sandbox):
            await sandbox.aclose()


def _origin(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"the base URL {url!r} must be http:// or https://")
    return parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
