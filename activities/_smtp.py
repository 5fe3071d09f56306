"""Hands one message to the SMTP server and says what became of it."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Sequence
from email.message import EmailMessage
from typing import Any

import aiosmtplib
import httpx2

from activities._mail_target import MailTargets
from activities.errors import ActionError
from activities.mail_provider import Delivery
from activities.services import MailConfig
from activities.vault import Connection
from schemas.connections import SmtpConfig
from schemas.errors import ErrorCode

_logger = logging.getLogger(__name__)
_START_TLS = {"none": False, "starttls": True, "opportunistic": None, "implicit": False}


class _Client(aiosmtplib.SMTP):
    """Knows whether it has begun to hand a message over."""

    begun = False

    async def data(self, *args: Any, **named: Any) -> aiosmtplib.SMTPResponse:
        self.begun = True
        return await super().data(*args, **named)


class SmtpProvider:
    """Sends over one SMTP server; each mail has a connection of its own."""

    def __init__(self, config: MailConfig, targets: MailTargets | None = None) -> None:
        """Send to the server that `config` names; with `targets` only where those let it."""
        self._config = config
        self._targets = targets

    @classmethod
    def of_connection(
        cls, connection: Connection, _client: httpx2.AsyncClient, *, targets: MailTargets
    ) -> "SmtpProvider":
        """Build the provider of a stored connection, which leads where `targets` let it."""
        config = SmtpConfig.model_validate(connection.config)
        return cls(
            MailConfig(
                host=config.host,
                port=config.port,
                username=config.username,
                password=connection.secrets.get("password"),
                tls=config.tls,
            ),
            targets,
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
            self._config,
            message,
            sender=sender,
            recipients=recipients,
            seconds=seconds,
            targets=self._targets,
        )


async def deliver(
    config: MailConfig,
    message: EmailMessage,
    *,
    sender: str,
    recipients: Sequence[str],
    seconds: float,
    targets: MailTargets | None = None,
) -> Delivery:
    """Send a message within `seconds`; at least one recipient accepted means delivered.

    Raises ActionError: FORBIDDEN for a server that `targets` do not let through, EMAIL_REJECTED
    for a refusal (permanent for 5xx, retryable for 4xx), UNAUTHORIZED for wrong credentials,
    STEP_TIMEOUT and STEP_FAILED (both retryable) where the server cannot be reached or does not
    answer. Once the message was begun they are `in_doubt`, unless the server has refused it.
    """
    client, taken = None, None
    try:
        async with asyncio.timeout(seconds):
            client = await smtp_client(config, seconds, targets)
            async with client:
                taken = await client.send_message(
                    message, sender=sender, recipients=list(recipients)
                )
    except (aiosmtplib.SMTPException, OSError, ssl.SSLError, TimeoutError) as error:
        if taken is None:
            failure = _failure(config, error)
            failure.in_doubt = client is not None and client.begun and not _is_refusal(error)
            raise failure from error
        # It failed at QUIT, after it had taken the message.
        _logger.info("the mail server %s fails at QUIT: %r", config.host, error)
    refused, response = taken
    return Delivery(
        response=response,
        refused={to: f"{said.code} {said.message}" for to, said in refused.items()},
    )


async def smtp_client(config: MailConfig, seconds: float, targets: MailTargets | None) -> _Client:
    """Give a client to enter; with `targets` its socket is connected already, and was judged.

    Raises ForbiddenTargetError, and OSError where nobody answers.
    """
    given = None
    if targets is not None:
        given = await targets.connect(config.host, config.port, seconds)
    return _Client(
        # Of TLS too where the socket is given: the certificate is checked by name.
        hostname=config.host,
        port=config.port if given is None else None,
        sock=given,
        # Not getfqdn(), the default: it may ask the DNS and block.
        local_hostname=socket.gethostname() or "localhost",
        username=config.username,
        password=config.password,
        use_tls=config.tls == "implicit",
        start_tls=_START_TLS[config.tls],
        timeout=seconds,
    )


def _is_refusal(error: Exception) -> bool:
    """Tell whether the server has said no; -1 stands for half an answer."""
    match error:
        case aiosmtplib.SMTPRecipientsRefused() | aiosmtplib.SMTPNotSupported():
            return True
        case aiosmtplib.SMTPResponseException():
            return error.code >= 400
        case _:
            return False


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
