"""Hands one message to the SMTP server and says what became of it."""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from email.message import EmailMessage

import aiosmtplib
import httpx2

from activities.errors import ActionError
from activities.mail_provider import Delivery
from activities.services import MailConfig
from activities.vault import Connection
from schemas.connections import SmtpConfig
from schemas.errors import ErrorCode

_START_TLS = {"none": False, "starttls": True, "opportunistic": None, "implicit": False}


class SmtpProvider:
    """Sends over one SMTP server; each mail has a connection of its own."""

    def __init__(self, config: MailConfig) -> None:
        """Send to the server that `config` names."""
        self._config = config

    @classmethod
    def of_connection(
        cls,
        connection: Connection,
        _client: httpx2.AsyncClient,
    ) -> "SmtpProvider":
        """Build the provider of a stored connection."""
        config = SmtpConfig.model_validate(connection.config)
        return cls(
            MailConfig(
                host=config.host,
                port=config.port,
                username=config.username,
                password=connection.secrets.get("password"),
                tls=config.tls,
            )
        )

    async def send(
        self,
        message: EmailMessage,
        *,
        sender: str,
        recipients: Sequence[str],
        seconds: float,
    ) -> Delivery:
        """Hand a message over as `deliver` does."""
        return await deliver(
            self._config, message, sender=sender, recipients=recipients, seconds=seconds
        )


async def deliver(
    config: MailConfig,
    message: EmailMessage,
    *,
    sender: str,
    recipients: Sequence[str],
    seconds: float,
) -> Delivery:
    """Send a message within `seconds`; at least one recipient accepted means delivered.

    Raises ActionError: EMAIL_REJECTED for a server's refusal (permanent for 5xx, retryable for
    4xx), UNAUTHORIZED for wrong credentials, STEP_TIMEOUT and STEP_FAILED (both retryable) where
    the server cannot be reached or does not answer.
    """
    client = aiosmtplib.SMTP(
        hostname=config.host,
        port=config.port,
        # Not getfqdn(), the default: it may ask the DNS and block.
        local_hostname=socket.gethostname() or "localhost",
        username=config.username,
        password=config.password,
        use_tls=config.tls == "implicit",
        start_tls=_START_TLS[config.tls],
        timeout=seconds,
    )
    try:
        async with asyncio.timeout(seconds):
            # Leaving the block says QUIT; a server that fails at that has the message already,
            # and the client ignores it.
            async with client:
                refused, response = await client.send_message(
                    message, sender=sender, recipients=list(recipients)
                )
    except (aiosmtplib.SMTPException, OSError, ssl.SSLError, TimeoutError) as error:
        raise _failure(config, error) from error
    return Delivery(
        response=response,
        refused={to: f"{said.code} {said.message}" for to, said in refused.items()},
    )


def _failure(config: MailConfig, error: Exception) -> ActionError:
    where = f"{config.host}:{config.port}"
    match error:
        case aiosmtplib.SMTPAuthenticationError() if error.code >= 500:
            return ActionError(
                f"the mail server {where} refuses the credentials: {error.code} {error.message}",
                code=ErrorCode.UNAUTHORIZED,
                retryable=False,
                hint="check user and password of the connection, or in SMTP_URL",
                details={"smtp_code": error.code},
            )
        case aiosmtplib.SMTPRecipientsRefused():
            said = {one.recipient: f"{one.code} {one.message}" for one in error.recipients}
            return ActionError(
                f"the mail server {where} refuses every recipient: {next(iter(said.values()))}",
                code=ErrorCode.EMAIL_REJECTED,
                # One that may succeed later is reason enough to try again: nobody got it yet.
                retryable=any(one.code < 500 for one in error.recipients),
                details={"refused": said},
            )
        case aiosmtplib.SMTPResponseException():
            return ActionError(
                f"the mail server {where} refuses the message: {error.code} {error.message}",
                code=ErrorCode.EMAIL_REJECTED,
                # -1: the connection ended in the middle of an answer.
                retryable=error.code < 500,
                details={"smtp_code": error.code},
            )
        case aiosmtplib.SMTPNotSupported():
            return ActionError(
                f"the mail server {where} cannot do what is asked: {error.message}",
                code=ErrorCode.EMAIL_REJECTED,
                retryable=False,
                hint="check the TLS option and user of the connection, or in SMTP_URL",
            )
        case aiosmtplib.SMTPException() if type(error) is aiosmtplib.SMTPException:
            # The library's own words for a server without STARTTLS or without a known AUTH.
            return ActionError(
                f"the mail server {where} cannot do what is asked: {error.message}",
                code=ErrorCode.EMAIL_REJECTED,
                retryable=False,
                hint="check the TLS option and user of the connection, or in SMTP_URL",
            )
        case TimeoutError():
            return ActionError(
                f"the mail server {where} took too long",
                code=ErrorCode.STEP_TIMEOUT,
            )
        case _:
            return ActionError(f"the mail server {where} cannot be reached: {error}")
