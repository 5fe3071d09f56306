"""Google's SDK over our guarded client."""

from functools import lru_cache
from typing import Any

import httpx2
from google.genai.client import Client
from google.genai.types import HttpOptions

from activities._client import closed_client

_GOOGLE_URL = "https://generativelanguage.googleapis.com"


# The SDK loads certificates for each client it makes, tens of milliseconds of the event loop.
@lru_cache(maxsize=64)
def google_client(http: httpx2.AsyncClient, api_key: str, base_url: str | None) -> Client:
    """Give a client for Gemini's API whose requests all go through `http`."""
    options: dict[str, Any] = {
        # Always ours: without one the SDK reads the environment.
        "base_url": base_url or _GOOGLE_URL,
        "httpx_client": closed_client(),
        "httpx_async_client": http,
    }
    return Client(vertexai=False, api_key=api_key, http_options=HttpOptions(**options))
