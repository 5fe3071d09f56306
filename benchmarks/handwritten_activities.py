"""The activities of the hand-written worker: what a Python developer would write first."""

from collections.abc import Callable
from typing import Any

import httpx2
from pydantic import BaseModel
from temporalio import activity

from benchmarks.noop import NoopParams, NoopResult


class Fetched(BaseModel):
    """An answer of the HTTP target."""

    status: int
    body: dict[str, Any]


@activity.defn(name="noop")
async def noop(params: NoopParams) -> NoopResult:
    """Give back what came in."""
    return NoopResult(value=params.value)


@activity.defn(name="enough")
async def enough(budget: int, threshold: int) -> bool:
    """Decide a condition."""
    return budget >= threshold


class Http:
    """Requests through one client with kept connections."""

    def __init__(self) -> None:
        self.client = httpx2.AsyncClient(trust_env=False, timeout=30.0)

    @activity.defn(name="fetch")
    async def fetch(self, url: str) -> Fetched:
        """Get a JSON document."""
        response = await self.client.get(url)
        response.raise_for_status()
        return Fetched(status=response.status_code, body=response.json())


def activities(http: Http) -> list[Callable[..., Any]]:
    """Give every activity of the worker."""
    return [noop, enough, http.fetch]
