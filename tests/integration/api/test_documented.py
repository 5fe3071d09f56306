"""What the OpenAPI document says of every operation."""

from fastapi import FastAPI
from httpx2 import AsyncClient

from tests.integration.api.conftest import assert_problem

JSON = "application/json"


def test_every_operation_with_a_json_body_says_that_it_may_be_unreadable(app: FastAPI) -> None:
    silent = [
        operation["operationId"]
        for operations in app.openapi()["paths"].values()
        for operation in operations.values()
        if list(operation.get("requestBody", {}).get("content", ())) == [JSON]
        and "400" not in operation["responses"]
    ]
    assert silent == []


async def test_bytes_that_are_no_text_are_a_problem(api: AsyncClient) -> None:
    answer = await api.post(
        "/api/v1/gallery/ticket-triage/install", content=b"[Q\xff", headers={"content-type": JSON}
    )
    assert_problem(answer, 400, "INVALID_INPUT")
