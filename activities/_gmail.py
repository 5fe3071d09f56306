"""Hands mail to Gmail's API, with tokens of an OAuth client or of a service account."""

import asyncio
import json
import time
from collections.abc import Sequence
from email.message import EmailMessage
from typing import Any

import httpx2

from activities._client import BEGUN
from activities.errors import ActionError
from activities.mail_provider import Delivery
from activities.vault import Connection
from schemas.connections import GmailConfig
from schemas.errors import ErrorCode

SCOPE = "https://www.googleapis.com/auth/gmail.send"
_SEND = "/upload/gmail/v1/users/me/messages/send?uploadType=media"
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_LIFETIME = 3600  # seconds that a service account asks for, the most that Google gives
_EARLY = 60.0  # seconds before its end from which a token is not used any more
_LIMITS = frozenset({"rateLimitExceeded", "userRateLimitExceeded", "dailyLimitExceeded"})


class GmailProvider:
    """Sends as one Gmail user; a token is asked for once and kept until shortly before its end."""

    def __init__(self, connection: Connection, client: httpx2.AsyncClient) -> None:
        """Use a connection of kind gmail over the guarded client."""
        self._config = GmailConfig.model_validate(connection.config)
        self._secrets = connection.secrets
        self._client = client
        self._token: tuple[str, float] | None = None
        self._asking = asyncio.Lock()

    async def send(
        self,
        message: EmailMessage,
        *,
        sender: str,  # noqa: ARG002 - Gmail takes the From header
        recipients: Sequence[str],
        seconds: float,
    ) -> Delivery:
        """Upload the message to `users.messages.send`; a token that is refused is renewed once."""
        raw = _with_bcc(message, recipients)
        uploads: list[httpx2.Request] = []
        try:
            async with asyncio.timeout(seconds):
                answer = await self._upload(raw, uploads)
                if answer.status_code == 401:
                    self._token = None
                    uploads.clear()
                    answer = await self._upload(raw, uploads)
        except (TimeoutError, httpx2.TimeoutException) as error:
            raise ActionError(
                "Gmail took too long", code=ErrorCode.STEP_TIMEOUT, in_doubt=_begun(uploads)
            ) from error
        except httpx2.HTTPError as error:
            raise ActionError(
                f"Gmail cannot be reached: {type(error).__name__}", in_doubt=_begun(uploads)
            ) from error
        if answer.is_error:
            raise _refusal(answer)
        identity = _json(answer).get("id")
        return Delivery(response=f"Gmail {answer.status_code}", provider_id=identity)

    async def _upload(self, raw: bytes, uploads: list[httpx2.Request]) -> httpx2.Response:
        token = await self.token()
        request = self._client.build_request(
            "POST",
            self._config.api_url.rstrip("/") + _SEND,
            content=raw,
            headers={"Authorization": f"Bearer {token}", "Content-Type": "message/rfc822"},
        )
        uploads.append(request)
        return await self._client.send(request)

    async def token(self) -> str:
        """Give an access token, asking for one if none is kept; raises ActionError."""
        async with self._asking:
            if self._token is None or self._token[1] <= time.monotonic():
                answer = await self._client.post(self._config.token_url, data=self._grant())
                if answer.is_error:
                    raise _token_refusal(answer)
                given = _json(answer)
                token, lasts = given.get("access_token"), given.get("expires_in", _LIFETIME)
                if not isinstance(token, str) or not isinstance(lasts, int | float):
                    raise ActionError(
                        "the token endpoint's answer holds no access_token",
                        code=ErrorCode.UNAUTHORIZED,
                        retryable=False,
                    )
                self._token = (token, time.monotonic() + lasts - _EARLY)
            return self._token[0]

    def _grant(self) -> dict[str, str]:
        if self._config.auth == "oauth":
            return {
                "grant_type": "refresh_token",
                "client_id": self._config.client_id or "",
                "client_secret": self._secrets["client_secret"],
                "refresh_token": self._secrets["refresh_token"],
            }
        return {"grant_type": _GRANT, "assertion": self._assertion()}

    def _assertion(self) -> str:
        """Sign what a service account asks for: a token to act for the user (RFC 7523)."""
        try:
            # Here: an extra that other installations lack.
            from google.auth import crypt, jwt
        except ImportError as error:
            raise ActionError(
                "service accounts need the extra 'gmail'",
                code=ErrorCode.INVALID_INPUT,
                retryable=False,
                hint="install sojourn[gmail]",
            ) from error
        try:
            account = json.loads(self._secrets["service_account"])
            signer = crypt.RSASigner.from_service_account_info(account)
            issuer = account["client_email"]
        except (ValueError, KeyError, TypeError) as error:
            raise ActionError(
                "the service account's key file cannot be read",
                code=ErrorCode.INVALID_INPUT,
                retryable=False,
            ) from error
        now = int(time.time())
        claims = {
            "iss": issuer,
            "sub": self._config.user,
            "scope": SCOPE,
            "aud": self._config.token_url,
            "iat": now,
            "exp": now + _LIFETIME,
        }
        return jwt.encode(signer, claims).decode()


def _begun(uploads: list[httpx2.Request]) -> bool:
    return any(request.extensions.get(BEGUN, False) for request in uploads)


def _with_bcc(message: EmailMessage, recipients: Sequence[str]) -> bytes:
    """Give the message with a Bcc header, which Gmail reads and removes, where one is needed."""
    named = {
        address.addr_spec
        for header in ("To", "Cc")
        for value in message.get_all(header, [])
        for address in value.addresses
    }
    hidden = [one for one in recipients if one not in named]
    raw = message.as_bytes()
    if not hidden:
        return raw
    return b"Bcc: " + ",\r\n ".join(hidden).encode() + b"\r\n" + raw


def _json(answer: httpx2.Response) -> dict[str, Any]:
    try:
        value = answer.json()
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _refusal(answer: httpx2.Response) -> ActionError:
    status = answer.status_code
    error = _json(answer).get("error")
    told = error if isinstance(error, dict) else {}
    reasons = {one.get("reason") for one in told.get("errors") or [] if isinstance(one, dict)}
    words = f"{status} {str(told.get('message', ''))[:300]}".strip()
    if status == 429 or (status == 403 and reasons & _LIMITS):
        wait = answer.headers.get("retry-after", "")
        return ActionError(
            f"Gmail says later: {words}",
            code=ErrorCode.RATE_LIMITED,
            retry_after=float(wait) if wait.isascii() and wait.isdigit() else None,
            details={"status": status},
        )
    if status in (401, 403):
        return ActionError(
            f"Gmail refuses the credentials: {words}",
            code=ErrorCode.UNAUTHORIZED,
            retryable=False,
            details={"status": status},
        )
    return ActionError(
        f"Gmail refuses the message: {words}",
        code=ErrorCode.EMAIL_REJECTED,
        retryable=status >= 500,
        details={"status": status},
        # 503 says that nothing was done.
        in_doubt=status >= 500 and status != 503,
    )


def _token_refusal(answer: httpx2.Response) -> ActionError:
    status = answer.status_code
    # RFC 6749, 5.2: a word of a closed set, such as invalid_grant.
    word = str(_json(answer).get("error", ""))[:100]
    return ActionError(
        f"no token for Gmail: {status} {word}".strip(),
        code=ErrorCode.UNAUTHORIZED,
        retryable=status == 429 or status >= 500,
        hint="check client, token and scope of the connection; a service account needs delegation",
        details={"status": status},
    )
