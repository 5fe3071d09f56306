"""The CLI's way to a running Sojourn: its HTTP API."""

import os
from pathlib import Path
from typing import Any

import httpx2

from schemas.errors import ErrorCode, Problem, SojournError, UnavailableError

_DEV_ENV = Path(".sojourn/dev.env")
_TIMEOUT = 30.0


class RemoteError(SojournError):
    """The API refused a call; code, message and problems are its own."""


def find_api() -> tuple[str, str]:
    """Give address and key: SOJOURN_URL and SOJOURN_API_KEY, or those of `sojourn dev` here.

    Raises RemoteError if neither is there.
    """
    found = dict(os.environ)
    if "SOJOURN_URL" not in found and _DEV_ENV.exists():
        pairs = [line.partition("=") for line in _DEV_ENV.read_text().splitlines()]
        found |= {name: value for name, _, value in pairs}
    if "SOJOURN_URL" not in found or "SOJOURN_API_KEY" not in found:
        raise RemoteError(
            "it is not known where Sojourn runs",
            hint="set SOJOURN_URL and SOJOURN_API_KEY, or run 'sojourn dev' in this folder",
        )
    return found["SOJOURN_URL"].rstrip("/"), found["SOJOURN_API_KEY"]


class Remote:
    """A client of the API that raises RemoteError with the API's own words."""

    def __init__(self, url: str, api_key: str) -> None:
        """Speak to the API at `url`."""
        self._url = url
        # A person sits at the command line: see the triggers `manual` and `api`.
        self._headers = {"Authorization": f"Bearer {api_key}", "X-Sojourn-Start": "manual"}

    @classmethod
    def found(cls) -> "Remote":
        """Build a client from the environment, as `find_api` does."""
        return cls(*find_api())

    def get(self, path: str, **params: Any) -> Any:
        """GET a resource; parameters that are None are left out."""
        given = {name: value for name, value in params.items() if value is not None}
        return self._call("GET", path, params=given)

    def post(self, path: str, body: Any = None, **params: Any) -> Any:
        """POST JSON."""
        return self._call("POST", path, json=body, params=params)

    def patch(self, path: str, body: Any) -> Any:
        """PATCH JSON."""
        return self._call("PATCH", path, json=body)

    def post_source(self, path: str, source: str, **params: Any) -> Any:
        """POST a definition as it was written (JSON is YAML too)."""
        headers = {"Content-Type": "application/yaml"}
        return self._call("POST", path, content=source.encode(), headers=headers, params=params)

    def _call(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, **request: Any
    ) -> Any:
        given = self._headers | (headers or {})
        try:
            # One connection a call: a command makes one or two, and leaves none behind.
            answer = httpx2.request(
                method, f"{self._url}/api/v1{path}", headers=given, timeout=_TIMEOUT, **request
            )
        except httpx2.HTTPError as error:
            raise UnavailableError(
                f"Sojourn does not answer at {self._url}: {error or type(error).__name__}",
                code=ErrorCode.INTERNAL,
                hint="is it running? 'sojourn dev' starts it here",
            ) from error
        if answer.is_error:
            raise _refused(answer)
        return answer.json() if answer.content else None


def _refused(answer: httpx2.Response) -> RemoteError:
    try:
        body = answer.json()
        problems = [Problem.model_validate(each) for each in body.get("problems") or []]
        message = body.get("detail") or body.get("title") or answer.reason_phrase
        return RemoteError(message, code=body.get("code"), hint=body.get("hint"), problems=problems)
    except (ValueError, AttributeError):
        return RemoteError(f"the API answered {answer.status_code}: {answer.text[:200]}")
