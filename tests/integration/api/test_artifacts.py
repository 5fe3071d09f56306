"""Bodies that are too large for a step's output are artifacts of the run."""

import hashlib
import json
from typing import Any

from httpx2 import AsyncClient
from pytest_httpserver import HTTPServer
from temporalio.worker import Worker
from werkzeug import Request, Response

from db.engine import Database
from db.runs import Run
from tests.integration.api.conftest import Publish, start, until_status

# Formatted with the name when it is published.
CALL = """
name: {{name}}
steps:
  - id: call
    type: http
    retry: {{{{attempts: 1}}}}
    with: {{{{method: POST, url: "{url}", json: 1}}}}
  - id: seen
    type: set
    vars:
      of: "{{{{{{{{ steps.call.output.body.artifact }}}}}}}}"
"""


async def step_of(api: AsyncClient, run_id: str) -> dict[str, Any]:
    steps = (await api.get(f"/api/v1/runs/{run_id}/steps")).json()
    return next(step for step in steps if step["path"] == "call")


async def test_a_large_body_is_kept_once_and_read(
    api: AsyncClient, publish: Publish, worker: Worker, httpserver: HTTPServer, database: Database
) -> None:
    body = json.dumps(["x" * 1000] * 3000).encode()
    assert len(body) > 3_000_000
    calls: list[Request] = []

    def answer(request: Request) -> Response:
        calls.append(request)
        return Response(body, content_type="application/json")

    httpserver.expect_request("/large").respond_with_handler(answer)
    name = await publish(CALL.format(url=httpserver.url_for("/large")))
    run_id = await start(api, name)
    await until_status(api, run_id, "completed")
    output = (await step_of(api, run_id))["output"]["body"]
    assert (output["size"], output["content_type"]) == (len(body), "application/json")
    assert output["preview"] == body[:500].decode()
    # What is too large is done once: Temporal would have had it done again and again.
    assert len(calls) == 1
    found = await api.get(f"/api/v1/runs/{run_id}/artifacts/{output['artifact']}")
    assert (found.status_code, found.content) == (200, body)
    assert found.headers["content-disposition"] == "attachment"
    (listed,) = (await api.get(f"/api/v1/runs/{run_id}/artifacts")).json()
    assert listed["sha256"] == hashlib.sha256(body).hexdigest()
    assert (listed["id"], listed["step_path"]) == (output["artifact"], "call")
    other = await start(api, name)
    missing = await api.get(f"/api/v1/runs/{other}/artifacts/{output['artifact']}")
    assert missing.status_code == 404
    # It goes with its run.
    async with database.session() as session:
        row = await session.get(Run, run_id)
        await session.delete(row)
    gone = await api.get(f"/api/v1/runs/{run_id}/artifacts/{output['artifact']}")
    assert gone.status_code == 404


async def test_a_page_of_another_server_is_no_page_of_ours(
    api: AsyncClient, publish: Publish, worker: Worker, httpserver: HTTPServer
) -> None:
    page = b"<script>alert(1)</script>" * 20_000
    httpserver.expect_request("/page").respond_with_data(page, content_type="text/html")
    run_id = await start(api, await publish(CALL.format(url=httpserver.url_for("/page"))))
    await until_status(api, run_id, "completed")
    output = (await step_of(api, run_id))["output"]["body"]
    found = await api.get(f"/api/v1/runs/{run_id}/artifacts/{output['artifact']}")
    assert found.headers["content-type"] == "application/octet-stream"
    assert found.headers["x-content-type-options"] == "nosniff"
    assert found.content == page


async def test_more_than_ten_mebibytes_are_refused(
    api: AsyncClient, publish: Publish, worker: Worker, httpserver: HTTPServer
) -> None:
    httpserver.expect_request("/huge").respond_with_data(b"x" * 11 * 1024 * 1024)
    run_id = await start(api, await publish(CALL.format(url=httpserver.url_for("/huge"))))
    run = await until_status(api, run_id, "failed")
    assert run["error"]["code"] == "LIMIT_EXCEEDED"
