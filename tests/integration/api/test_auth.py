"""Everything is closed, but what is listed as public; request ids; errors that nobody expected."""

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from httpx2 import ASGITransport, AsyncClient
from structlog.testing import capture_logs

from api.app import create_app
from api.config import ApiConfig
from db.engine import Database
from schemas.actions import Catalogue
from tests.integration.api.conftest import API_KEY, assert_problem, client_of
from workflows.gateway import Gateway

PUBLIC = {
    "/healthz",
    "/readyz",
    "/api/v1/forms/{form}/submissions",
    # Known by a secret token, or by the opaque id in a mail.
    "/api/v1/hooks/{token}",
    "/api/v1/mail/inbound/{token}",
    "/c/{id}",
    "/o/{tracking_id}.gif",
    "/u/{id}",
}


@pytest.fixture
async def anyone(app: FastAPI):
    """A client without a key."""
    async with AsyncClient(transport=ASGITransport(app=app), base_url="http://testserver") as made:
        yield made


async def test_every_operation_but_the_public_is_closed(app: FastAPI, anyone: AsyncClient) -> None:
    operations = [
        (path, method) for path, methods in app.openapi()["paths"].items() for method in methods
    ]
    assert len(operations) > 30
    for path, method in operations:
        address = path.replace("{version}", "1").replace("{", "").replace("}", "")
        answer = await anyone.request(method.upper(), address, json={})
        if path in PUBLIC:
            assert answer.status_code != 401, path
            assert app.openapi()["paths"][path][method]["security"] == []
        else:
            assert_problem(answer, 401, "UNAUTHORIZED")
            assert answer.headers["www-authenticate"] == "Bearer"
            assert app.openapi()["paths"][path][method]["security"]


async def test_both_ways_to_send_the_key(anyone: AsyncClient) -> None:
    for headers, status in (
        ({"Authorization": f"Bearer {API_KEY}"}, 200),
        ({"X-API-Key": API_KEY}, 200),
        ({"X-API-Key": API_KEY + "x"}, 401),
        ({"X-API-Key": ""}, 401),
        ({"Authorization": f"Basic {API_KEY}"}, 401),
        ({"X-API-Key": "wrong", "Authorization": f"Bearer {API_KEY}"}, 401),
    ):
        assert (await anyone.get("/api/v1/runs", headers=headers)).status_code == status
    odd = await anyone.get("/api/v1/runs", headers=[(b"X-API-Key", b"\xff\xfe")])
    assert odd.status_code == 401


async def test_an_empty_key_is_no_key() -> None:
    with pytest.raises(ValueError, match="API key"):
        ApiConfig(api_key="")


async def test_request_ids(api: AsyncClient) -> None:
    answer = await api.get("/healthz", headers={"X-Request-ID": "abc-1"})
    assert answer.headers["x-request-id"] == "abc-1"
    for odd in ("a b", "x" * 65, "<script>"):
        answer = await api.get("/healthz", headers={"X-Request-ID": odd})
        assert answer.headers["x-request-id"] != odd


async def test_metrics_are_what_the_root_renders(
    database: Database, gateway: Gateway, catalogue: Catalogue
) -> None:
    app = create_app(
        database=database,
        gateway=gateway,
        catalogue=catalogue,
        config=ApiConfig(api_key=API_KEY, render_metrics=lambda: b"up 1\n"),
    )
    async with client_of(app) as client:
        answer = await client.get("/metrics")
    assert (answer.status_code, answer.text[:5]) == (200, "up 1\n")
    assert "# TYPE sojourn_queue_runs gauge" in answer.text
    assert answer.headers["content-type"].startswith("text/plain")


async def test_an_unexpected_error_tells_only_its_id(
    database: Database, gateway: Gateway, catalogue: Catalogue
) -> None:
    def broken() -> bytes:
        raise ZeroDivisionError("secret detail")

    app = create_app(
        database=database,
        gateway=gateway,
        catalogue=catalogue,
        config=ApiConfig(api_key=API_KEY, render_metrics=broken),
    )
    with capture_logs() as logs:
        async with client_of(app) as client:
            answer = await client.get("/metrics")
    assert_problem(answer, 500, "INTERNAL")
    assert "unhandled_error" in [entry["event"] for entry in logs]
    assert "secret" not in answer.text
    assert "ZeroDivision" not in answer.text


async def test_the_document_names_every_operation_once(app: FastAPI) -> None:
    document = app.openapi()
    operations = [
        operation for methods in document["paths"].values() for operation in methods.values()
    ]
    ids = [operation["operationId"] for operation in operations]
    assert len(set(ids)) == len(ids)
    assert {"start_run", "create_definition", "submit_form", "stream_run_events"} <= set(ids)
    assert all(operation["tags"] and operation["description"] for operation in operations)
    assert "ProblemDetail" in document["components"]["schemas"]
    source = document["paths"]["/api/v1/definitions"]["post"]["requestBody"]["content"]
    assert set(source) == {"application/json", "application/yaml"}
    assert all(isinstance(route, APIRoute) for route in app.routes if hasattr(route, "dependant"))
