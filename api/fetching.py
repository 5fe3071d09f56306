"""Fetching small JSON documents through the one guarded client."""

from collections.abc import Callable
from typing import Any

import httpx2

from activities.errors import ActionError
from api.jwks import Fetch, IssuerAwayError

MAX_DOCUMENT_BYTES = 512 * 1024
_SECONDS = 5.0


def fetcher(client: Callable[[], httpx2.AsyncClient]) -> Fetch:
    """Give what fetches a JSON object; it raises IssuerAwayError and ValueError."""

    async def fetch(url: str) -> dict[str, Any]:
        try:
            async with client().stream("GET", url, timeout=_SECONDS) as answer:
                if answer.status_code != 200:
                    raise IssuerAwayError(f"the issuer answered {answer.status_code}")
                body = bytearray()
                async for part in answer.aiter_bytes():
                    body += part
                    if len(body) > MAX_DOCUMENT_BYTES:
                        raise ValueError("the issuer's document is too large")
        except (httpx2.HTTPError, ActionError, OSError) as error:
            raise IssuerAwayError(f"the issuer does not answer: {type(error).__name__}") from error
        value = httpx2.Response(200, content=bytes(body)).json()
        if not isinstance(value, dict):
            raise ValueError("the issuer's document is no object")
        return value

    return fetch
