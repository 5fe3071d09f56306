"""The http action against real servers on loopback, kind and hostile ones."""

import asyncio
import gzip
import json
import resource
import time
import zlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from hashlib import sha256
from typing import Any

import pytest
from pydantic import ValidationError

from activities._answers import retry_after
from activities.context import ActionContext
from activities.errors import ActionError
from activities.http import HttpParams, http
from activities.services import HttpConfig, Services
from tests.servers.wire import Handler, Received, WireServer, respond


def answering(
    status: int = 200, body: Any = None, headers: dict[str, str] | None = None
) -> Handler:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {} if isinstance(body, bytes) else {"content-type": "application/json"}

    async def answer(request: Received, writer: asyncio.StreamWriter) -> None:
        respond(writer, status, data, given | (headers or {}))

    return answer


def params(**given: Any) -> HttpParams:
    return HttpParams.model_validate(given)


async def test_a_json_answer(context: ActionContext) -> None:
    async with WireServer(answering(200, {"n": 1, "list": [1.5, None]})) as server:
        result = await http(
            params(
                url=f"{server.url}/a?x=1",
                query={"q": "ä b", "flag": True, "many": [1, 2], "none": None},
                headers={"X-Token": "t"},
            ),
            context,
        )
        (request,) = server.requests
    assert result.status == 200
    assert result.body == {"n": 1, "list": [1.5, None]}
    assert result.headers["content-type"] == "application/json"
    assert result.url.startswith(server.url)
    assert request.method == "GET"
    assert request.target == "/a?x=1&q=%C3%A4+b&flag=true&many=1&many=2"
    assert request.headers["x-token"] == "t"
    assert "idempotency-key" not in request.headers


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_unsafe_methods_carry_the_step_key(context: ActionContext, method: str) -> None:
    async with WireServer(answering(201, {})) as server:
        for attempt in (1, 2):
            await http(
                params(url=server.url, method=method.lower()), replace(context, attempt=attempt)
            )
        keys = {request.headers["idempotency-key"] for request in server.requests}
    assert keys == {sha256(context.step.key.encode()).hexdigest()}


async def test_bodies(context: ActionContext) -> None:
    async with WireServer(answering(200, {})) as server:
        await http(params(url=server.url, method="POST", json={"a": [1]}), context)
        await http(params(url=server.url, method="POST", form={"a": "ö", "b": [1, 2]}), context)
        await http(
            params(
                url=server.url,
                method="POST",
                body="<x/>",
                headers={"Content-Type": "text/xml", "Idempotency-Key": "mine"},
            ),
            context,
        )
        as_json, as_form, as_text = server.requests
    assert json.loads(as_json.body) == {"a": [1]}
    assert as_json.headers["content-type"] == "application/json"
    assert as_form.body == b"a=%C3%B6&b=1&b=2"
    assert as_text.body == b"<x/>"
    assert as_text.headers["content-type"] == "text/xml"
    assert as_text.headers["idempotency-key"] == "mine"


@pytest.mark.parametrize(
    ("output", "kind", "body", "kept"),
    [
        ("auto", "application/problem+json; charset=utf-8", b'{"a":1}', {"a": 1}),
        ("auto", "text/plain; charset=latin-1", "ä".encode("latin-1"), "ä"),
        ("auto", "text/plain; charset=unheard-of", b"a", "a"),
        ("auto", "application/json", b"", None),
        ("json", "text/plain", b" [1] ", [1]),
        ("text", "application/json", b'{"a":1}', '{"a":1}'),
        ("none", "application/json", b"{broken", None),
    ],
)
async def test_what_is_kept_of_the_body(
    context: ActionContext, output: str, kind: str, body: bytes, kept: Any
) -> None:
    async with WireServer(answering(200, body, {"content-type": kind})) as server:
        result = await http(params(url=server.url, output=output), context)
    assert result.body == kept


@pytest.mark.parametrize(
    ("status", "retryable"),
    [
        (400, False),
        (401, False),
        (404, False),
        (409, False),
        (302, False),
        (408, True),
        (425, True),
        (429, True),
        (500, True),
        (503, True),
    ],
)
async def test_unexpected_statuses(context: ActionContext, status: int, retryable: bool) -> None:
    headers = {"retry-after": "7", "content-type": "text/plain"}
    async with WireServer(answering(status, b"why " * 500, headers)) as server:
        with pytest.raises(ActionError) as caught:
            await http(params(url=server.url), context)
    error = caught.value
    assert error.code == "HTTP_ERROR"
    assert error.retryable is retryable
    assert error.retry_after == (7.0 if retryable else None)
    assert error.details["status"] == status
    assert len(error.details["body"]) == 500


@pytest.mark.parametrize(
    ("expect", "status", "good"),
    [
        (["2xx"], 204, True),
        ([404], 404, True),
        (["200-299", 404], 404, True),
        (["500-503"], 504, False),
        ([200], 201, False),
        (["201"], 201, True),
    ],
)
async def test_expected_statuses(
    context: ActionContext, expect: list[int | str], status: int, good: bool
) -> None:
    async with WireServer(answering(status, {})) as server:
        if good:
            assert (await http(params(url=server.url, expect=expect), context)).status == status
        else:
            with pytest.raises(ActionError):
                await http(params(url=server.url, expect=expect), context)


def test_retry_after_reads_seconds_and_dates() -> None:
    now = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
    later = format_datetime(now + timedelta(seconds=90), usegmt=True)
    earlier = format_datetime(now - timedelta(seconds=90), usegmt=True)
    assert retry_after({"retry-after": "120"}, now) == 120
    assert retry_after({"retry-after": later}, now) == 90
    assert retry_after({"retry-after": earlier}, now) == 0
    for nonsense in ("", "soon", "-5", "1.5e9", "٣"):
        assert retry_after({"retry-after": nonsense}, now) is None
    assert retry_after({}, now) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "ftp://example.com"},
        {"url": "/relative"},
        {"url": "http://user:pw@example.com"},
        {"url": "http://example.com", "method": "TRACE"},
        {"url": "http://example.com", "headers": {"Host": "other"}},
        {"url": "http://example.com", "headers": {"Transfer-Encoding": "chunked"}},
        {"url": "http://example.com", "headers": {"A": "b\r\nC: d"}},
        {"url": "http://example.com", "headers": {"A b": "c"}},
        {"url": "http://example.com", "json": {}, "body": "x"},
        {"url": "http://example.com", "expect": ["20x"]},
        {"url": "http://example.com", "expect": [99]},
        {"url": "http://example.com", "unknown": 1},
    ],
)
def test_wrong_parameters(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        params(**wrong)


# -- targets ---------------------------------------------------------------------------------


async def test_loopback_is_closed_by_default(context: ActionContext) -> None:
    async with WireServer(answering(200, {})) as server:
        services = Services(http_config=HttpConfig(allow_ports=(server.port,)))
        with pytest.raises(ActionError) as caught:
            await http(params(url=server.url), replace(context, services=services))
        await services.aclose()
        assert server.connections == 0
    assert caught.value.code == "FORBIDDEN"
    assert not caught.value.retryable


async def test_a_closed_port_is_a_retryable_error(context: ActionContext) -> None:
    async with WireServer(answering()) as server:
        port = server.port
    with pytest.raises(ActionError) as caught:
        await http(params(url=f"http://127.0.0.1:{port}/"), context)
    assert caught.value.code == "HTTP_ERROR"
    assert caught.value.retryable


async def test_a_dropped_connection_is_a_retryable_error(context: ActionContext) -> None:
    async def drop(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with WireServer(drop) as server:
        with pytest.raises(ActionError) as caught:
            await http(params(url=server.url), context)
    assert caught.value.code == "HTTP_ERROR"
    assert caught.value.retryable


# -- hostile servers -------------------------------------------------------------------------


def peak_memory() -> int:
    """The process's largest resident size so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


async def limited(server: WireServer, context: ActionContext, **given: Any) -> ActionError:
    before = peak_memory()
    with pytest.raises(ActionError) as caught:
        await http(params(url=server.url, **given), context)
    assert peak_memory() - before < 64 * 1024 * 1024
    return caught.value


async def test_an_endless_body_is_cut(context: ActionContext) -> None:
    async def endless(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000000\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    async with WireServer(endless) as server:
        error = await limited(server, context)
    assert error.code == "LIMIT_EXCEEDED"
    assert not error.retryable
    assert "10,485,760" in error.message


async def test_a_gzip_bomb_is_counted_before_it_is_stored(context: ActionContext) -> None:
    packer = zlib.compressobj(9, wbits=16 + zlib.MAX_WBITS)
    mebibyte = bytes(1024 * 1024)
    bomb = b"".join(packer.compress(mebibyte) for _ in range(200)) + packer.flush()
    assert len(bomb) < len(mebibyte)
    headers = {"content-encoding": "gzip", "content-type": "text/plain"}
    async with WireServer(answering(200, bomb, headers)) as server:
        error = await limited(server, context)
    assert error.code == "LIMIT_EXCEEDED"


async def test_a_gzip_body_is_read(context: ActionContext) -> None:
    body = gzip.compress(json.dumps({"a": "b" * 5000}).encode())
    headers = {"content-encoding": "gzip", "content-type": "application/json"}
    async with WireServer(answering(200, body, headers)) as server:
        result = await http(params(url=server.url), context)
    assert result.body == {"a": "b" * 5000}


@pytest.mark.parametrize(
    ("coding", "body"), [("br", b"xx"), ("gzip", b"this is no gzip"), ("gzip, gzip", b"x")]
)
async def test_unreadable_codings(context: ActionContext, coding: str, body: bytes) -> None:
    async with WireServer(answering(200, body, {"content-encoding": coding})) as server:
        error = await limited(server, context)
    assert error.code == "HTTP_ERROR"
    assert not error.retryable


async def test_a_body_too_large_to_keep_names_its_size(context: ActionContext) -> None:
    async with WireServer(answering(200, b"x" * 3_000_000)) as server:
        error = await limited(server, context)
        assert error.code == "LIMIT_EXCEEDED"
        assert "3,000,000" in error.message
        assert not error.retryable
        result = await http(params(url=server.url, output="none"), context)
        assert result.body is None


async def test_a_slow_drip_ends_at_the_deadline(context: ActionContext) -> None:
    async def drip(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with WireServer(drip) as server:
        begun = time.monotonic()
        with pytest.raises(ActionError) as caught:
            await http(params(url=server.url), replace(context, timeout=timedelta(seconds=0.6)))
    assert time.monotonic() - begun < 10
    assert caught.value.code == "STEP_TIMEOUT"
    assert caught.value.retryable


async def test_endless_headers_are_cut(context: ActionContext) -> None:
    async def headers(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"x-filler: " + b"y" * 8000 + b"\r\n")
            await writer.drain()

    async with WireServer(headers) as server:
        error = await limited(server, context)
    assert error.code == "HTTP_ERROR"


@pytest.mark.parametrize("body", [b"{broken", b"[" * 100_000, b"[" * 70 + b"]" * 70, b"NaN"])
async def test_bad_json_is_a_permanent_error(context: ActionContext, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    async with WireServer(answering(200, body, headers)) as server:
        error = await limited(server, context)
    assert error.code == "HTTP_ERROR"
    assert not error.retryable


async def test_a_cancelled_request_frees_its_connection(context: ActionContext) -> None:
    begun = asyncio.Event()

    async def silent(request: Received, writer: asyncio.StreamWriter) -> None:
        begun.set()
        await asyncio.Event().wait()

    async with WireServer(silent) as server:
        task = asyncio.create_task(http(params(url=server.url), context))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
