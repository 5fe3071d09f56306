"""The CLI's way to a running Sojourn: its HTTP API."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2

from schemas.errors import ErrorCode, Problem, SojournError, UnavailableError

_DEV_ENV = Path(".sojourn/dev.env")
_TIMEOUT = 30.0
# Without a byte for so long a stream is broken: the server sends one every 15 s.
_SILENCE = 60.0
_PAGE = 200


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

    def get_text(self, path: str, **params: Any) -> str:
        """GET what is not JSON; parameters that are None are left out."""
        given = {name: value for name, value in params.items() if value is not None}
        return self._answer("GET", path, params=given).text

    def pages(self, path: str, limit: int, **params: Any) -> list[Any]:
        """GET the items of a list, page by page, until there are `limit` or no more."""
        found: list[Any] = []
        cursor: str | None = None
        while True:
            size = min(limit - len(found), _PAGE)
            page = self.get(path, **params, cursor=cursor, limit=size)
            found += page["items"]
            cursor = page["next_cursor"]
            if cursor is None or len(found) >= limit:
                return found

    def post(self, path: str, body: Any = None, *, key: str | None = None, **params: Any) -> Any:
        """POST JSON; `key` is the idempotency key."""
        headers = {"Idempotency-Key": key} if key is not None else None
        return self._call("POST", path, json=body, params=params, headers=headers)

    def delete(self, path: str) -> None:
        """DELETE a resource."""
        self._call("DELETE", path)

    def events(self, path: str, last: str | None = None) -> Iterator[dict[str, Any]]:
        """Follow server-sent events after `last`: {id, event, **data}.

        Ends when the stream does; what breaks it ends it, too, since it can be resumed.
        """
        headers = self._headers | ({"Last-Event-ID": last} if last else {})
        timeout = httpx2.Timeout(_TIMEOUT, read=_SILENCE)
        try:
            with httpx2.stream(
                "GET", f"{self._url}/api/v1{path}", headers=headers, timeout=timeout
            ) as answer:
                if answer.is_error:
                    answer.read()
                    raise _refused(answer)
                yield from _parsed(answer.iter_lines())
        except (httpx2.ReadTimeout, httpx2.RemoteProtocolError, httpx2.ReadError):
            return
        except httpx2.HTTPError as error:
            raise self._away(error) from error

    def patch(self, path: str, body: Any) -> Any:
        """PATCH JSON."""
        return self._call("PATCH", path, json=body)

    def post_source(self, path: str, source: str, **params: Any) -> Any:
        """POST a definition as it was written (JSON is YAML too)."""
        headers = {"Content-Type": "application/yaml"}
        return self._call("POST", path, content=source.encode(), headers=headers, params=params)

    def _call(self, method: str, path: str, **request: Any) -> Any:
        answer = self._answer(method, path, **request)
        return answer.json() if answer.content else None

    def _answer(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, **request: Any
    ) -> httpx2.Response:
        given = self._headers | (headers or {})
        try:
            # One connection a call: a command makes one or two, and leaves none behind.
            answer = httpx2.request(
                method, f"{self._url}/api/v1{path}", headers=given, timeout=_TIMEOUT, **request
            )
        except httpx2.HTTPError as error:
            raise self._away(error) from error
        if answer.is_error:
            raise _refused(answer)
        return answer

    def _away(self, error: httpx2.HTTPError) -> UnavailableError:
        return UnavailableError(
            f"Sojourn does not answer at {self._url}: {error or type(error).__name__}",
            code=ErrorCode.INTERNAL,
            hint="is it running? 'sojourn dev' starts it here",
        )


def _parsed(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """Read events of a stream: fields until an empty line, comments left out."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            if name:
                fields[name] = value.removeprefix(" ")
        elif "data" in fields:
            data = json.loads(fields["data"])
            yield {"id": fields.get("id"), "event": fields.get("event"), **data}
            fields = {}
        else:
            fields = {}


def _refused(answer: httpx2.Response) -> RemoteError:
    try:
        body = answer.json()
        problems = [Problem.model_validate(each) for each in body.get("problems") or []]
        message = body.get("detail") or body.get("title") or answer.reason_phrase
        return RemoteError(message, code=body.get("code"), hint=body.get("hint"), problems=problems)
    except (ValueError, AttributeError):
        return RemoteError(f"the API answered {answer.status_code}: {answer.text[:200]}")
