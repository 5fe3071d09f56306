"""The codec server, as Temporal's Web UI and its program ask it."""

import asyncio
import base64
import json
from typing import Any
from uuid import uuid4

import pytest
from httpx2 import AsyncClient
from temporalio.api.common.v1 import Payload
from temporalio.client import Client

from db.engine import Database
from dev.temporal import find_program
from schemas.actions import Catalogue
from tests.integration.api.conftest import (
    Publish,
    assert_problem,
    client_of,
    publish,
    start,
    until_status,
)
from tests.integration.sealed.conftest import UI, make_app
from tests.kit.journey import Journey
from tests.kit.sealing import payloads_of, sealing
from tests.kit.serving import served
from workflows.codec import is_sealed
from workflows.gateway import Gateway
from workflows.opening import PayloadDesk

__all__ = ["publish"]
DECODE, ENCODE, SIGN_IN = (f"/api/v1/codec/{name}" for name in ("decode", "encode", "sign-in"))
pytestmark = pytest.mark.usefixtures("worker")


def written(payload: Payload) -> dict[str, Any]:
    metadata = {key: base64.b64encode(value).decode() for key, value in payload.metadata.items()}
    return {"metadata": metadata, "data": base64.b64encode(payload.data).decode()}


def data_of(payload: dict[str, Any]) -> Any:
    return json.loads(base64.b64decode(payload["data"]))


async def kept(api: AsyncClient, publish: Publish, outsider: Client) -> tuple[str, list[Payload]]:
    """A run, and all payloads of its history as Temporal keeps them."""
    run_id = await start(api, await publish(), {"n": 41})
    workflow_id = (await until_status(api, run_id, "waiting"))["workflow_id"]
    history = await outsider.get_workflow_handle(workflow_id).fetch_history()
    return workflow_id, [payload for event in history.events for _, payload in payloads_of(event)]


async def test_it_opens_what_is_the_callers(
    api: AsyncClient, publish: Publish, outsider: Client
) -> None:
    workflow_id, payloads = await kept(api, publish, outsider)
    plain = {"metadata": {"encoding": "anNvbi9wbGFpbg=="}, "data": "MQ==", "externalPayloads": []}
    answer = await api.post(
        f"{DECODE}?preserveStorageRefs=true",
        json={"payloads": [*map(written, payloads), plain]},
        headers={"X-Namespace": "default"},
    )
    assert answer.status_code == 200, answer.text
    *opened, passed = answer.json()["payloads"]
    assert passed == plain
    assert len(opened) == len(payloads)
    assert any(isinstance(data_of(one), dict) and data_of(one).get("input") for one in opened)
    for one in opened:
        # For people: a payload that was copied from elsewhere would name elsewhere.
        assert base64.b64decode(one["metadata"]["sojourn-workflow"]).decode() == workflow_id
        assert base64.b64decode(one["metadata"]["encoding"]) in (b"json/plain", b"binary/null")


async def test_what_does_not_open_does_not_hide_the_rest(
    api: AsyncClient, publish: Publish, outsider: Client
) -> None:
    _, payloads = await kept(api, publish, outsider)
    altered = Payload()
    altered.CopyFrom(payloads[0])
    altered.data = altered.data[:-1] + bytes([altered.data[-1] ^ 1])
    answer = await api.post(DECODE, json={"payloads": [written(altered), written(payloads[0])]})
    bad, good = answer.json()["payloads"]
    assert data_of(bad) == "not opened: see the log"
    assert "input" in data_of(good)


async def test_it_asks_who_is_there(
    api: AsyncClient, app: Any, publish: Publish, outsider: Client, client: Client
) -> None:
    _, payloads = await kept(api, publish, outsider)
    body = {"payloads": [written(payloads[0])]}
    for headers in ({"Authorization": ""}, {"Authorization": "Bearer wrong"}):
        assert_problem(await api.post(DECODE, json=body, headers=headers), 401, "UNAUTHORIZED")
    other = await api.post(DECODE, json=body, headers={"X-Namespace": "other"})
    assert_problem(other, 404, "NOT_FOUND")
    foreign = await PayloadDesk(client).seal(
        [Payload(metadata={"encoding": b"json/plain"}, data=b"1")],
        f"acme/flow/{uuid4()}",
    )
    answer = await api.post(DECODE, json={"payloads": [written(foreign[0])]})
    assert_problem(answer, 404, "NOT_FOUND")


async def test_it_seals_for_one_workflow(api: AsyncClient, client: Client) -> None:
    workflow_id = f"default/flow/{uuid4()}"
    plain = written(Payload(metadata={"encoding": b"json/plain"}, data=b'{"a":1}'))
    answer = await api.post(
        ENCODE, json={"payloads": [plain]}, headers={"X-Workflow-Id": workflow_id}
    )
    assert answer.status_code == 200, answer.text
    (given,) = answer.json()["payloads"]
    sealed = Payload(
        metadata={name: base64.b64decode(value) for name, value in given["metadata"].items()},
        data=base64.b64decode(given["data"]),
    )
    assert is_sealed(sealed)
    assert sealing().open_for(sealed, "default", workflow_id).data == b'{"a":1}'
    again = await api.post(
        ENCODE, json={"payloads": [given]}, headers={"X-Workflow-Id": workflow_id}
    )
    assert_problem(again, 422, "INVALID_INPUT")
    assert_problem(await api.post(ENCODE, json={"payloads": [plain]}), 422, "INVALID_INPUT")
    foreign = {"X-Workflow-Id": f"acme/flow/{uuid4()}"}
    answer = await api.post(ENCODE, json={"payloads": [plain]}, headers=foreign)
    assert_problem(answer, 404, "NOT_FOUND")


async def test_the_web_ui_alone_may_ask_from_a_page(api: AsyncClient) -> None:
    asked = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,x-namespace",
    }
    preflight = await api.options(DECODE, headers={"Origin": UI, **asked})
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == UI
    allowed = preflight.headers["access-control-allow-headers"]
    assert {"authorization", "content-type", "x-namespace"} <= set(allowed.split(", "))
    answer = await api.post(DECODE, json={"payloads": []}, headers={"Origin": UI})
    assert (answer.status_code, answer.json()) == (200, {"payloads": []})
    assert answer.headers["access-control-allow-origin"] == UI
    assert answer.headers["access-control-allow-credentials"] == "true"
    sealing_there = await api.options(ENCODE, headers={"Origin": UI, **asked})
    assert sealing_there.headers["access-control-allow-origin"] == UI
    assert "access-control-allow-credentials" not in sealing_there.headers
    for origin, path in (
        ("https://temporal.example.com.evil.example", DECODE),
        ("null", DECODE),
        (UI, "/api/v1/runs"),
        (UI, SIGN_IN),
    ):
        answer = await api.options(path, headers={"Origin": origin, **asked})
        assert answer.status_code == 405
        assert "access-control-allow-origin" not in answer.headers
    refused = await api.post(
        DECODE, json={"payloads": []}, headers={"Origin": UI, "Authorization": "Bearer wrong"}
    )
    # The page may read why.
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == UI


async def test_without_keys_there_is_none(
    outsider: Client, database: Database, catalogue: Catalogue, keyring: Any
) -> None:
    app = make_app(database, Gateway(outsider), catalogue, keyring, 1)
    async with client_of(app) as api:
        answer = await api.post(
            DECODE,
            json={"payloads": []},
            headers={"X-API-Key": Journey.API_KEY},
        )
    assert_problem(answer, 409, "CONFLICT")


async def test_temporals_program_shows_what_it_opened(
    api: AsyncClient, app: Any, publish: Publish, outsider: Client, temporal_address: str
) -> None:
    workflow_id, _ = await kept(api, publish, outsider)
    async with served(app) as address:
        process = await asyncio.create_subprocess_exec(
            find_program("temporal"),
            *("workflow", "show", "--address", temporal_address, "--workflow-id", workflow_id),
            *("--output", "json", "--codec-endpoint", f"{address}/api/v1/codec"),
            *("--codec-auth", f"Bearer {Journey.API_KEY}"),
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
    assert process.returncode == 0
    started = json.loads(output)["events"][0]["workflowExecutionStartedEventAttributes"]
    (given,) = started["input"]["payloads"]
    assert data_of(given)["input"] == {"n": 41}
