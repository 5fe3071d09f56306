"""A client of the Model Context Protocol over streamable HTTP: one session, one call.

Source: the protocol's revision 2025-06-18, "Transports: Streamable HTTP" and "Lifecycle".
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx2

from activities._answers import is_transient, may_have_acted, retry_after
from activities._client import BEGUN, GuardedClient
from activities._reading import read_body
from activities.errors import ActionError
from schemas.errors import ErrorCode
from schemas.run import MAX_OUTPUT_BYTES

PROTOCOL = "2025-06-18"
_SESSION = "mcp-session-id"
# An event stream may bring notifications beside the answer.
_MAX_STREAM = 8 * MAX_OUTPUT_BYTES
_BAD_PARAMS = -32602
# JSON-RPC 2.0, 5.1: it could not be read, is no request, or of no known method; so, too, the above.
_NOT_DONE = frozenset({-32700, -32600, -32601, _BAD_PARAMS})
# Seconds for the farewell: the answer is there already.
_FAREWELL = 2.0


class Session:
    """One conversation with a server; use it as `async with`."""

    def __init__(
        self, client: GuardedClient, url: str, headers: Mapping[str, str], timeout: float
    ) -> None:
        """Speak to the endpoint `url`; `timeout` is in seconds, of each request."""
        self._client = client
        self._url = url
        self._timeout = timeout
        self._count = 0
        self._latest: httpx2.Request | None = None
        self._headers = {
            **{name.lower(): text for name, text in headers.items()},
            "accept": "application/json, text/event-stream",
            "content-type": "application/json",
            "accept-encoding": "identity",
        }

    @property
    def begun(self) -> bool:
        """Whether the server may have seen something of the latest request."""
        return self._latest is not None and self._latest.extensions.get(BEGUN, False)

    async def __aenter__(self) -> "Session":
        """Initialise; raises ActionError."""
        told = await self.request(
            "initialize",
            {
                "protocolVersion": PROTOCOL,
                "capabilities": {},
                "clientInfo": {"name": "sojourn", "version": "1"},
            },
        )
        version = told.get("protocolVersion")
        if isinstance(version, str) and version.isascii() and version.isprintable():
            self._headers["mcp-protocol-version"] = version
        response = await self._post({"jsonrpc": "2.0", "method": "notifications/initialized"})
        await response.aclose()
        return self

    async def __aexit__(self, *_: object) -> None:
        """End the session at the server, where it keeps one; what comes of that is no matter."""
        if _SESSION not in self._headers:
            return
        request = self._client.build_request(
            "DELETE", self._url, headers=self._headers, timeout=self._timeout
        )
        try:
            async with asyncio.timeout(_FAREWELL):
                await (await self._client.exchange(request)).aclose()
        except (httpx2.HTTPError, ActionError, TimeoutError):
            return

    async def request(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Send a request and give its result.

        Raises ActionError: HTTP_ERROR for the connection and for what is no answer, INVALID_INPUT
        and STEP_FAILED (both final) for the server's own refusals. It is not `in_doubt` where the
        answer tells that nothing was done.
        """
        self._count += 1
        sent = {"jsonrpc": "2.0", "id": self._count, "method": method, "params": params}
        response = await self._post(sent)
        try:
            session = response.headers.get(_SESSION)
            if session is not None and method == "initialize":
                self._headers[_SESSION] = session
            return _result(method, await self._answer(response))
        finally:
            await response.aclose()

    async def _post(self, message: dict[str, Any]) -> httpx2.Response:
        request = self._client.build_request(
            "POST", self._url, headers=self._headers, json=message, timeout=self._timeout
        )
        self._latest = request
        response = await self._client.exchange(request)
        status = response.status_code
        if 200 <= status < 300:
            return response
        body = await read_body(response)
        await response.aclose()
        transient = is_transient(status)
        raise ActionError(
            f"the MCP server {request.url.host} answered {status}",
            code=ErrorCode.HTTP_ERROR,
            retryable=transient,
            retry_after=retry_after(response.headers) if transient else None,
            details={"status": status, "body": body.excerpt(response)},
            in_doubt=None if may_have_acted(status) else False,
        )

    async def _answer(self, response: httpx2.Response) -> dict[str, Any]:
        """Find the answer to the latest request, in a JSON body or in a stream of events."""
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "text/event-stream":
            async for data in _events(response):
                found = _parsed(data)
                if found.get("id") == self._count and "method" not in found:
                    return found
            raise _no_answer("the stream ended without an answer", retryable=True)
        if kind != "application/json":
            raise _no_answer(f"the answer has the content type {kind[:60]!r}")
        body = await read_body(response)
        body.check_kept()
        return _parsed(body.data)


async def _events(response: httpx2.Response) -> AsyncIterator[bytes]:
    """Give the data of each server-sent event, while the stream goes on."""
    rest, lines, size = b"", [], 0
    assert isinstance(response.stream, httpx2.AsyncByteStream), "the client is asynchronous"
    async for part in response.stream:
        size += len(part)
        if size > _MAX_STREAM:
            raise ActionError(
                f"the MCP server's stream is longer than {_MAX_STREAM:,} bytes",
                code=ErrorCode.LIMIT_EXCEEDED,
                retryable=False,
            )
        *whole, rest = (rest + part).replace(b"\r\n", b"\n").split(b"\n")
        for line in whole:
            if line.startswith(b"data:"):
                lines.append(line[5:].removeprefix(b" "))
            elif not line and lines:
                yield b"\n".join(lines)
                lines = []


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _no_answer("the answer is not JSON") from error
    if not isinstance(found, dict):
        raise _no_answer("the answer is no JSON-RPC message")
    return found


def _result(method: str, answer: dict[str, Any]) -> dict[str, Any]:
    fault = answer.get("error")
    if isinstance(fault, dict):
        bad = fault.get("code") == _BAD_PARAMS
        raise ActionError(
            f"the MCP server refused {method}: {str(fault.get('message'))[:500]}",
            code=ErrorCode.INVALID_INPUT if bad else ErrorCode.STEP_FAILED,
            retryable=False,
            details={"rpc_code": fault.get("code")},
            in_doubt=False if fault.get("code") in _NOT_DONE else None,
        )
    result = answer.get("result")
    if not isinstance(result, dict):
        raise _no_answer("the answer has no result")
    return result


def _no_answer(why: str, *, retryable: bool = False) -> ActionError:
    return ActionError(
        f"the MCP server gave no usable answer: {why}",
        code=ErrorCode.HTTP_ERROR,
        retryable=retryable,
    )
