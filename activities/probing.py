"""Tries a stored connection for real, without any effect: a login, or a harmless request."""

import asyncio
import imaplib
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

import aiosmtplib
import httpx2

from activities._imap import open_client, quoted, told
from activities._mail_target import MailTargets
from activities._smtp import smtp_client
from activities.http_auth import credentials, joined
from activities.mail_provider import MailProviders
from activities.masking import masking
from activities.services import MailConfig
from activities.vault import Connection
from schemas.errors import SojournError

# Seconds, with room for the row to be read and written within ten.
DEADLINE = 9.0
_MAX_MESSAGE = 500
# Where the vendors' models are listed, and the headers that a key is sent in.
_OPENAI = "https://api.openai.com/v1"
_ANTHROPIC = "https://api.anthropic.com"
_GOOGLE = "https://generativelanguage.googleapis.com"
_ANTHROPIC_VERSION = "2023-06-01"


class _FailedError(Exception):
    """The other side said no; the message is for people."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What a test found; the message holds no secret."""

    ok: bool
    message: str
    duration_ms: int


class Prober:
    """Tries connections of every kind; HTTP goes through the guarded clients."""

    def __init__(
        self,
        http: Callable[[], httpx2.AsyncClient],
        ai_http: Callable[[], httpx2.AsyncClient],
        *,
        mail: MailTargets | None = None,
        deadline: float = DEADLINE,
    ) -> None:
        """Take functions that give the clients, and the seconds that a test may take.

        Without `mail` only public mail servers are tried.
        """
        self._http = http
        self._ai_http = ai_http
        self._mail = mail or MailTargets.of()
        self._deadline = deadline
        self._kinds: dict[str, Callable[[Connection], Awaitable[str]]] = {
            "smtp": self._smtp,
            "mail": self._other_mail,
            "imap": self._imap,
            "http": self._web,
            "gmail": self._gmail,
            "openai": self._openai,
            "anthropic": self._anthropic,
            "google": self._google,
            "webhook": _signing,
        }

    async def probe(
        self, name: str, kind: str, config: dict[str, Any], secrets: dict[str, str]
    ) -> Probe:
        """Try one connection; never raises for what the other side does."""
        began = perf_counter()
        with masking() as masks:
            masks.add(*secrets.values())
            ok, message = await self._try(Connection(name, kind, config, secrets))
            message = masks.text(message)[:_MAX_MESSAGE]
        return Probe(ok, message, round((perf_counter() - began) * 1000))

    async def _try(self, connection: Connection) -> tuple[bool, str]:
        try:
            async with asyncio.timeout(self._deadline):
                return True, await self._kinds[connection.kind](connection)
        except TimeoutError:
            return False, f"no answer within {self._deadline:g} s"
        except _FailedError as error:
            return False, str(error)
        except SojournError as error:
            return False, error.message
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ssl.SSLError) as error:
            return False, f"the connection failed: {type(error).__name__}: {error}"
        except ValueError as error:
            # A header, a host or a key file that cannot even be written or read.
            return False, f"what is stored cannot be used: {type(error).__name__}: {error}"

    # -- mail ----------------------------------------------------------------------------------

    async def _other_mail(self, connection: Connection) -> str:
        MailProviders(self._http, self._mail).of(connection)
        return "the provider is installed; only a mail would tell more"

    async def _smtp(self, connection: Connection) -> str:
        config, password = connection.config, connection.secrets.get("password")
        user = config.get("username")
        server = MailConfig(
            host=config["host"],
            port=config["port"],
            username=user,
            password=password,
            tls=config["tls"],
        )
        client = await smtp_client(server, self._deadline, self._mail)
        try:
            async with client:
                await client.noop()
        except aiosmtplib.SMTPAuthenticationError as error:
            raise _FailedError(f"the login was refused: {error.code} {error.message}") from error
        except aiosmtplib.SMTPException as error:
            raise _FailedError(f"the mail server failed: {error}") from error
        return f"logged in as {user}" if user else "connected, without a login"

    async def _imap(self, connection: Connection) -> str:
        config = connection.config
        link = await self._mail.connect(config["host"], config["port"], self._deadline)
        return await asyncio.to_thread(_read_mailbox, connection, link, self._deadline)

    async def _gmail(self, connection: Connection) -> str:
        # Here: service accounts need an extra that other installations lack.
        from activities._gmail import GmailProvider

        await GmailProvider(connection, self._http()).token()
        return f"a token was given for {connection.config['user']}"

    # -- web -----------------------------------------------------------------------------------

    async def _web(self, connection: Connection) -> str:
        config = connection.config
        url = joined(config["base_url"], config.get("test_url") or "", connection.name)
        return await _get(self._http(), url, credentials(connection))

    async def _openai(self, connection: Connection) -> str:
        config, key = connection.config, connection.secrets.get("api_key")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        for header, field in (
            ("OpenAI-Organization", "organization"),
            ("OpenAI-Project", "project"),
        ):
            if config.get(field):
                headers[header] = config[field]
        return await _get(self._ai_http(), f"{_base(config, _OPENAI)}/models", headers)

    async def _anthropic(self, connection: Connection) -> str:
        key = connection.secrets["api_key"]
        headers = {"x-api-key": key, "anthropic-version": _ANTHROPIC_VERSION}
        url = f"{_base(connection.config, _ANTHROPIC)}/v1/models?limit=1"
        return await _get(self._ai_http(), url, headers)

    async def _google(self, connection: Connection) -> str:
        headers = {"x-goog-api-key": connection.secrets["api_key"]}
        url = f"{_base(connection.config, _GOOGLE)}/v1beta/models?pageSize=1"
        return await _get(self._ai_http(), url, headers)


async def _signing(_connection: Connection) -> str:
    return "the signing secret opens; nothing is sent in a test"


def _base(config: dict[str, Any], default: str) -> str:
    return (config.get("base_url") or default).rstrip("/")


async def _get(client: httpx2.AsyncClient, url: str, headers: dict[str, str]) -> str:
    """Ask for a URL; raises _FailedError for a status of 400 or above."""
    request = client.build_request("GET", url, headers=headers)
    response = await client.send(request, stream=True, follow_redirects=False)
    await response.aclose()
    told = f"{urlsplit(url).hostname} answered {response.status_code}"
    if response.status_code >= 400:
        raise _FailedError(told)
    return told


def _read_mailbox(connection: Connection, link: socket.socket, seconds: float) -> str:
    """Log in and open the mailbox read-only; blocks."""
    config = connection.config
    try:
        with open_client(config, link, seconds) as client:
            client.login(config["username"], connection.secrets["password"])
            answer, data = client.select(quoted(config["mailbox"]), readonly=True)
            if answer != "OK":
                raise _FailedError(f"logged in, but the mailbox does not open: {told(data)}")
            return f"logged in as {config['username']}; {told(data)} messages"
    except UnicodeEncodeError as error:
        raise _FailedError("user and password must be plain ASCII for IMAP") from error
    except imaplib.IMAP4.error as error:
        raise _FailedError(f"the mailbox server refused: {error}") from error
