"""Redirects of the http action: followed where asked, never into what is closed."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from activities._client import guarded_client
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


async def test_redirects_are_off_by_default(context: ActionContext) -> None:
    async with WireServer(answering(302, {}, {"location": "/b"})) as server:
        with pytest.raises(ActionError, match="302"):
            await http(params(url=server.url), context)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "method", "body"),
    [
        (301, "GET", b""),
        (302, "GET", b""),
        (303, "GET", b""),
        (307, "POST", b"x"),
        (308, "POST", b"x"),
    ],
)
async def test_a_redirect_within_an_origin(
    context: ActionContext, status: int, method: str, body: bytes
) -> None:
    async def answer(request: Received, writer: asyncio.StreamWriter) -> None:
        if request.target == "/a":
            respond(writer, status, b"", {"location": "/b"})
        else:
            respond(writer, 200, b"end")

    async with WireServer(answer) as server:
        result = await http(
            params(
                url=f"{server.url}/a",
                method="POST",
                body="x",
                follow_redirects=True,
                headers={"Authorization": "secret"},
            ),
            context,
        )
        second = server.requests[1]
    assert result.url == f"{server.url}/b"
    assert (second.method, second.body) == (method, body)
    assert second.headers["authorization"] == "secret"
    assert ("idempotency-key" in second.headers) is (method == "POST")


async def test_credentials_stay_at_their_origin(context: ActionContext) -> None:
    async with (
        WireServer(answering(200, {})) as target,
        WireServer(answering(302, {}, {"location": f"{target.url}/x"})) as first,
    ):
        await http(
            params(
                url=first.url,
                follow_redirects=True,
                headers={"Authorization": "secret", "Cookie": "a=b", "X-Other": "c"},
            ),
            context,
        )
        headers = target.requests[0].headers
    assert "authorization" not in headers
    assert "cookie" not in headers
    assert headers["x-other"] == "c"
    assert headers["host"] == f"127.0.0.1:{target.port}"


async def test_the_fourth_redirect_is_refused(context: ActionContext) -> None:
    async with WireServer(answering(302, {}, {"location": "/again"})) as server:
        with pytest.raises(ActionError, match="more than 3 redirects"):
            await http(params(url=server.url, follow_redirects=True), context)
        assert len(server.requests) == 4


REDIRECT_TARGETS = [
    "http://127.0.0.2:{port}/",
    "http://localhost:{port}/",
    "http://[::1]:{port}/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[fd00:ec2::254]/",
    "http://10.0.0.1/",
    "http://2130706433:{port}/",
    "file:///etc/passwd",
]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("target", REDIRECT_TARGETS)
async def test_a_redirect_to_an_internal_target_is_refused(
    context: ActionContext, status: int, target: str
) -> None:
    async with WireServer(answering(200, {})) as sink:
        location = target.format(port=sink.port)
        async with WireServer(answering(status, {}, {"location": location})) as server:

            async def resolver(host: str, port: int) -> list[str]:
                # The first host stands for a public one; the rest resolves as it would.
                return ["127.0.0.1"] if host == "public.example" else ["10.0.0.1", "127.0.0.1"]

            services = Services(
                http_config=HttpConfig(
                    allow_cidrs=("127.0.0.1/32",), allow_ports=tuple(range(1024, 65536))
                )
            )
            services.__dict__["http"] = guarded_client(services.http_policy, resolver=resolver)
            with pytest.raises(ActionError) as caught:
                await http(
                    params(url=f"http://public.example:{server.port}/", follow_redirects=True),
                    replace(context, services=services),
                )
            await services.aclose()
        assert caught.value.code in ("FORBIDDEN", "HTTP_ERROR")
        assert not caught.value.retryable
        assert sink.connections == 0
