"""Google's SDK over our guarded client."""

from functools import lru_cache
from typing import Any, NoReturn

import httpx2
from google.genai.client import Client
from google.genai.types import HttpOptions

_GOOGLE_URL = "https://generativelanguage.googleapis.com"


class _Closed(httpx2.BaseTransport):
    """The transport of the SDK's second, synchronous client: nothing may leave by it."""

    def handle_request(self, request: httpx2.Request) -> NoReturn:
        """Refuse every request."""
        raise httpx2.UnsupportedProtocol(f"no synchronous request to {request.url.host}")


# The SDK loads certificates for each client it makes, tens of milliseconds of the event loop.
@lru_cache(maxsize=64)
def google_client(http: httpx2.AsyncClient, api_key: str, base_url: str | None) -> Client:
    """Give a client for Gemini's API whose requests all go through `http`."""
    options: dict[str, Any] = {
        # Always ours: without one the SDK reads the environment.
        "base_url": base_url or _GOOGLE_URL,
        "httpx_client": httpx2.Client(transport=_Closed(), trust_env=False),
        "httpx_async_client": http,
    }
    return Client(vertexai=False, api_key=api_key, http_options=HttpOptions(**options))
