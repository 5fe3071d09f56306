from collections.abc import AsyncIterator
from typing import Any

import pytest

from activities.context import ActionContext
from activities.errors import ActionError
from activities.mcp import McpParams, McpResult, mcp
from schemas.errors import ErrorCode
from tests.servers.mcp_server import McpServer


@pytest.fixture(params=[False, True], ids=["json", "events"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[McpServer]:
    async with McpServer(stream=request.param) as running:
        yield running


async def call(server: McpServer, context: ActionContext, tool: str, **given: Any) -> McpResult:
    return await mcp(McpParams(url=server.url, tool=tool, arguments=given), context)


async def test_a_tool_is_called(server: McpServer, context: ActionContext) -> None:
    result = await call(server, context, "add", a=2, b=3)
    assert result.text == "5"
    assert result.structured == {"total": 5}
    assert server.seen == ["initialize", "notifications/initialized", "tools/call", "DELETE"]


@pytest.mark.parametrize(
    ("tool", "code", "said"),
    [
        ("fail", ErrorCode.STEP_FAILED, "it went wrong"),
        ("nope", ErrorCode.INVALID_INPUT, "unknown tool: nope"),
    ],
)
async def test_refusals_are_final(
    server: McpServer, context: ActionContext, tool: str, code: ErrorCode, said: str
) -> None:
    with pytest.raises(ActionError, match=said) as raised:
        await call(server, context, tool)
    assert (raised.value.code, raised.value.retryable) == (code, False)


@pytest.mark.parametrize(("status", "retryable"), [(503, True), (429, True), (401, False)])
async def test_statuses_are_told(
    server: McpServer, context: ActionContext, status: int, retryable: bool
) -> None:
    server.status = status
    with pytest.raises(ActionError) as raised:
        await call(server, context, "add", a=1, b=1)
    assert (raised.value.code, raised.value.retryable) == (ErrorCode.HTTP_ERROR, retryable)


async def test_internal_addresses_are_closed(context: ActionContext) -> None:
    with pytest.raises(ActionError) as raised:
        await mcp(McpParams(url="http://169.254.169.254/mcp", tool="add"), context)
    assert raised.value.code == ErrorCode.FORBIDDEN


async def test_a_server_that_is_away(context: ActionContext) -> None:
    async with McpServer() as gone:
        url = gone.url
    with pytest.raises(ActionError) as raised:
        await mcp(McpParams(url=url, tool="add"), context)
    assert (raised.value.code, raised.value.retryable) == (ErrorCode.HTTP_ERROR, True)
