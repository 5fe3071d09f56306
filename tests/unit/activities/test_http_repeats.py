"""Which lost or refused requests of the http action are tried again, and which may have worked."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from activities._client import guarded_client
from activities.context import ActionContext
from activities.errors import ActionError
from activities.http import HttpParams, http
from activities.masking import masking
from activities.services import Services
from tests.servers.wire import Handler, Received, WireServer, respond

UNSURE = ("POST", "PATCH")
SURE = ("GET", "PUT", "DELETE")


def params(**given: Any) -> HttpParams:
    return HttpParams.model_validate(given)


def answering(status: int) -> Handler:
    async def answer(request: Received, writer: asyncio.StreamWriter) -> None:
        respond(writer, status, b"no", {"retry-after": "9"})

    return answer


async def dropping(request: Received, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def silent(request: Received, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def failed(context: ActionContext, **given: Any) -> ActionError:
    with pytest.raises(ActionError) as caught:
        await http(params(**given), context)
    return caught.value


@pytest.fixture(params=[(), ({"idempotent": True},), ({"headers": {"Idempotency-Key": "k"}},)])
def agreed(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What a step may say of its server: nothing, or that it looks at the key."""
    return request.param[0] if request.param else {}


@pytest.mark.parametrize("status", [408, 500, 502, 504])
@pytest.mark.parametrize("method", [*UNSURE, *SURE])
async def test_an_error_that_may_have_had_an_effect(
    context: ActionContext, method: str, status: int, agreed: dict[str, Any]
) -> None:
    async with WireServer(answering(status)) as server:
        error = await failed(context, url=server.url, method=method, **agreed)
        assert len(server.requests) == 1
    assert error.retryable is (method in SURE or bool(agreed))


@pytest.mark.parametrize("status", [425, 429, 503])
@pytest.mark.parametrize("method", UNSURE)
async def test_what_the_server_has_not_begun_is_tried_again(
    context: ActionContext, method: str, status: int
) -> None:
    async with WireServer(answering(status)) as server:
        error = await failed(context, url=server.url, method=method)
    assert error.retryable
    assert error.retry_after == 9


@pytest.mark.parametrize("method", [*UNSURE, *SURE])
async def test_a_lost_answer(context: ActionContext, method: str, agreed: dict[str, Any]) -> None:
    async with WireServer(dropping) as server:
        error = await failed(context, url=server.url, method=method, **agreed)
    repeated = method in SURE or bool(agreed)
    assert error.code == "HTTP_ERROR"
    assert error.retryable is repeated
    assert error.details.get("in_doubt", False) is not repeated
    if not repeated:
        assert "idempotent" in str(error.hint)


async def test_a_late_answer(context: ActionContext, agreed: dict[str, Any]) -> None:
    soon = replace(context, timeout=timedelta(seconds=0.3))
    async with WireServer(silent) as server:
        error = await failed(soon, url=server.url, method="POST", **agreed)
    assert error.code == "STEP_TIMEOUT"
    assert error.retryable is bool(agreed)


async def test_a_refused_connection_is_tried_again(context: ActionContext) -> None:
    async with WireServer(silent) as server:
        port = server.port
    error = await failed(context, url=f"http://127.0.0.1:{port}/", method="POST")
    assert error.code == "HTTP_ERROR"
    assert error.retryable


async def test_a_host_that_never_answers_is_tried_again(context: ActionContext) -> None:
    async def stuck(host: str, port: int) -> list[str]:
        await asyncio.Event().wait()
        raise AssertionError

    services = Services()
    services.__dict__["http"] = guarded_client(services.http_policy, resolver=stuck)
    soon = replace(context, services=services, timeout=timedelta(seconds=1))
    error = await failed(soon, url="http://black.example/", method="POST")
    await services.aclose()
    assert error.retryable
    assert "ConnectTimeout" in error.message


@pytest.mark.parametrize("name", ["Authorization", "Cookie", "X-Api-Key", "X-Custom"])
async def test_credentials_stay_at_their_origin(context: ActionContext, name: str) -> None:
    async def onward(request: Received, writer: asyncio.StreamWriter) -> None:
        respond(writer, 302, b"", {"location": f"{target.url}/x"})

    async with WireServer(answering(200)) as target, WireServer(onward) as first:
        given = {"url": first.url, "follow_redirects": True, "headers": {name: "a-secret"}}
        with masking() as masks:
            masks.add("a-secret")
            await http(params(**given), context)
        assert first.requests[0].headers[name.lower()] == "a-secret"
        assert name.lower() not in target.requests[0].headers
