from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from activities.context import ActionContext
from activities.errors import ActionError
from activities.mcp import McpParams, McpResult, McpToolsParams, mcp, mcp_tools
from schemas.errors import ErrorCode
from tests.servers.mcp_server import McpServer


@pytest.fixture(params=[False, True], ids=["json", "events"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[McpServer]:
    async with McpServer(stream=request.param) as running:
        yield running


async def call(server: McpServer, context: ActionContext, tool: str, **given: Any) -> McpResult:
    return await mcp(McpParams(url=server.url, tool=tool, arguments=given), context)


def params_of(server: McpServer, tool: str, **given: Any) -> McpParams:
    return McpParams(url=server.url, tool=tool, arguments={"a": 2, "b": 3}, **given)


async def test_a_tool_is_called(server: McpServer, context: ActionContext) -> None:
    result = await call(server, context, "add", a=2, b=3)
    assert result.text == "5"
    assert result.structured == {"total": 5}
    opening = ["initialize", "notifications/initialized"]
    # Without word from the step the server says whether a second call would do harm.
    assert server.seen == [*opening, "tools/list", "tools/call", "DELETE"]
    server.seen.clear()
    await mcp(params_of(server, "add", idempotent=False), context)
    assert server.seen == [*opening, "tools/call", "DELETE"]


async def test_tools_are_listed_page_by_page(server: McpServer, context: ActionContext) -> None:
    found = await mcp_tools(McpToolsParams(url=server.url), context)
    assert [tool.name for tool in found.tools] == ["add", "look", "put", "fail", "strict"]
    assert [tool.description for tool in found.tools] == ["Add two numbers.", "", "", "Fails", ""]
    assert found.tools[0].parameters["required"] == ["a", "b"]
    pages = server.seen.count("tools/list")
    assert (pages, server.seen[-1]) == (5, "DELETE")


async def test_only_tools_that_are_named(server: McpServer, context: ActionContext) -> None:
    asked = McpToolsParams(url=server.url, tools=["strict", "add"])
    found = await mcp_tools(asked, context)
    assert [tool.name for tool in found.tools] == ["strict", "add"]
    with pytest.raises(ActionError, match="no tool 'sub'") as raised:
        await mcp_tools(McpToolsParams(url=server.url, tools=["add", "sub"]), context)
    assert (raised.value.code, raised.value.retryable) == (ErrorCode.NOT_FOUND, False)
    assert raised.value.hint is not None
    assert "add" in raised.value.hint


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


LOST = ["drop", "end", "hang", 500, 502, 504]


@pytest.mark.parametrize("how", LOST)
async def test_a_lost_answer_is_not_asked_for_twice(
    server: McpServer, context: ActionContext, how: str | int
) -> None:
    server.lose = {"tools/call": how}
    brief = replace(context, timeout=timedelta(seconds=2))
    with pytest.raises(ActionError) as raised:
        await mcp(params_of(server, "add"), brief)
    assert (raised.value.retryable, raised.value.in_doubt, server.done) == (False, True, 1)
    assert raised.value.code in (ErrorCode.HTTP_ERROR, ErrorCode.STEP_TIMEOUT)
    assert raised.value.hint is not None
    assert "idempotent: true" in raised.value.hint
    # The controls: the server says that it does no harm, or the step does.
    for params in (
        params_of(server, "look"),
        params_of(server, "put"),
        params_of(server, "add", idempotent=True),
    ):
        with pytest.raises(ActionError) as raised:
            await mcp(params, brief)
        assert (raised.value.retryable, raised.value.in_doubt) == (True, True)
    # Who writes the step knows better than its server.
    with pytest.raises(ActionError) as raised:
        await mcp(params_of(server, "put", idempotent=False), brief)
    assert not raised.value.retryable


@pytest.mark.parametrize(
    ("lose", "retryable"),
    [
        ({"tools/call": 503}, True),
        ({"tools/call": 429}, True),
        ({"tools/call": 403}, False),
        ({"initialize": "drop"}, True),
        ({"initialize": 500}, True),
        ({"tools/list": "drop"}, True),
        ({"tools/list": "hang"}, True),
    ],
)
async def test_what_was_not_begun_is_in_no_doubt(
    server: McpServer, context: ActionContext, lose: dict[str, str | int], retryable: bool
) -> None:
    server.lose = lose
    with pytest.raises(ActionError) as raised:
        await mcp(params_of(server, "add"), replace(context, timeout=timedelta(seconds=2)))
    assert (raised.value.retryable, raised.value.in_doubt) == (retryable, False)


async def test_a_server_that_says_nothing_of_its_tools(
    server: McpServer, context: ActionContext
) -> None:
    server.lose = {"tools/list": 404}
    assert (await mcp(params_of(server, "put"), context)).text == "5"
    server.lose |= {"tools/call": "drop"}
    with pytest.raises(ActionError) as raised:
        await mcp(params_of(server, "put"), context)
    assert not raised.value.retryable


async def test_a_farewell_that_is_lost_loses_no_result(
    server: McpServer, context: ActionContext
) -> None:
    server.lose = {"DELETE": "hang"}
    result = await mcp(params_of(server, "add"), replace(context, timeout=timedelta(seconds=3)))
    assert result.text == "5"
