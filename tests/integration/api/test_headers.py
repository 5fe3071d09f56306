"""What every answer tells a browser."""

import pytest
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient, Response

from api.app import create_app
from api.config import ApiConfig
from db.engine import Database
from schemas.actions import Catalogue
from tests.integration.api.conftest import API_KEY, assert_problem
from workflows.gateway import Gateway

NAMES = (
    "Cache-Control",
    "Content-Security-Policy",
    "Cross-Origin-Opener-Policy",
    "Cross-Origin-Resource-Policy",
    "Permissions-Policy",
    "Referrer-Policy",
    "X-Content-Type-Options",
    "X-Frame-Options",
)


def missing(answer: Response) -> list[str]:
    """The headers that an answer lacks, and a policy that would let scripts run inline."""
    lacking = [name for name in NAMES if name not in answer.headers]
    policy = answer.headers.get("Content-Security-Policy", "")
    if "default-src 'none'" not in policy or "script-src 'unsafe" in policy:
        lacking.append("strict policy")
    return lacking


async def test_every_operation_answers_with_them(app: FastAPI) -> None:
    operations = [
        (method, path) for path, methods in app.openapi()["paths"].items() for method in methods
    ]
    # Without a key: whatever the answer is, it has them.
    async with AsyncClient(transport=ASGITransport(app), base_url="http://test") as client:
        lacking = {
            f"{method} {path}": missing(answer)
            for method, path in operations
            if missing(
                answer := await client.request(method, path.replace("{", "").replace("}", ""))
            )
        }
    assert len(operations) > 100
    assert lacking == {}


@pytest.mark.parametrize("path", ["/nowhere", "/api/v1/docs", "/api/v1/openapi.json", "/metrics"])
async def test_what_is_no_operation_has_them_too(api: AsyncClient, path: str) -> None:
    assert missing(await api.get(path)) == []


async def test_a_body_over_the_limit(api: AsyncClient) -> None:
    answer = await api.post("/api/v1/definitions", content=b"x" * 20_000_000)
    assert_problem(answer, 413, "LIMIT_EXCEEDED")
    assert missing(answer) == []


async def test_an_unexpected_error(
    database: Database, gateway: Gateway, catalogue: Catalogue
) -> None:
    def broken() -> bytes:
        raise ZeroDivisionError

    app = create_app(
        database=database,
        gateway=gateway,
        catalogue=catalogue,
        config=ApiConfig(
            api_key=API_KEY, render_metrics=broken, public_url="https://sojourn.example"
        ),
    )
    transport = ASGITransport(app)
    headers = {"X-API-Key": API_KEY}
    async with AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
        answer = await client.get("/metrics")
        assert_problem(answer, 500, "INTERNAL")
        assert missing(answer) == []
        assert answer.headers["Strict-Transport-Security"].startswith("max-age=31536000")


async def test_over_plain_http_nothing_is_said_of_https(api: AsyncClient) -> None:
    assert "Strict-Transport-Security" not in (await api.get("/healthz")).headers


async def test_other_origins_are_told_nothing(api: AsyncClient) -> None:
    origin = {"Origin": "https://evil.example"}
    asked = {"Access-Control-Request-Method": "POST"}
    for answer in (
        await api.get("/api/v1/runs", headers=origin),
        await api.request("OPTIONS", "/api/v1/runs", headers=origin | asked),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", None])
async def test_json_must_say_that_it_is(api: AsyncClient, content_type: str | None) -> None:
    # A form of another site can send these without being asked about it by the browser.
    headers = {"content-type": content_type} if content_type else {}
    answer = await api.post(
        "/api/v1/definitions/nowhere/runs", content=b'{"input": {}}', headers=headers
    )
    assert_problem(answer, 422, "INVALID_INPUT")
