"""The actions `mcp` and `mcp_tools`: a call of a tool of an MCP server, and which it has."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

import httpx2
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from activities._mcp import Session
from activities._urls import check_url
from activities.context import ActionContext
from activities.errors import ActionError
from activities.http_auth import authorised
from activities.registry import action
from schemas.connections import CONNECTION_NAME
from schemas.errors import ErrorCode

MAX_TOOLS = 200
ToolName = Annotated[str, Field(min_length=1, max_length=200)]


class McpServerParams(BaseModel):
    """Which server, and with whose credentials."""

    model_config = ConfigDict(extra="forbid")

    url: str = Field(
        min_length=1,
        max_length=8192,
        description="the server's endpoint (streamable HTTP); with `connection` a path below its"
        " base_url",
        examples=["https://mcp.example.com/mcp"],
    )
    connection: Annotated[str, Field(pattern=CONNECTION_NAME)] | None = Field(
        default=None, description="a stored connection of kind http, whose credentials are sent"
    )


class McpParams(McpServerParams):
    """Parameters of `mcp`."""

    model_config = ConfigDict(title="mcp")

    tool: ToolName = Field(description="the tool's name")
    arguments: dict[str, Any] = Field(default_factory=dict, description="the tool's arguments")


class McpResult(BaseModel):
    """What the tool gave."""

    text: str = Field(description="its texts, in lines")
    structured: Any = Field(default=None, description="its structured result, where it gives one")
    content: list[dict[str, Any]] = Field(description="all parts, as they came")


class McpToolsParams(McpServerParams):
    """Parameters of `mcp_tools`."""

    model_config = ConfigDict(title="mcp_tools")

    tools: Literal["all"] | Annotated[list[ToolName], Field(min_length=1, max_length=MAX_TOOLS)] = (
        Field(default="all", description="only these, in this order; one that is missing fails")
    )


class McpTool(BaseModel):
    """A tool that a server has."""

    name: str
    description: str = Field(description="what the server says of it")
    parameters: dict[str, Any] = Field(description="JSON Schema of its arguments")


class McpToolsResult(BaseModel):
    """The tools of a server."""

    tools: list[McpTool]


@action("mcp", cancellable=True)
async def mcp(params: McpParams, context: ActionContext) -> McpResult:
    """Call a tool of an MCP server over streamable HTTP.

    Each attempt is a session of its own, and calls anew. Raises STEP_FAILED (final) where the tool
    says that it failed, INVALID_INPUT for arguments that the server refuses, HTTP_ERROR as `http`
    does, FORBIDDEN for a target that is not public, LIMIT_EXCEEDED, STEP_TIMEOUT.
    """
    async with _session(params, context) as session:
        given = {"name": params.tool, "arguments": params.arguments}
        result = await session.request("tools/call", given)
    content = [part for part in result.get("content") or [] if isinstance(part, dict)]
    text = "\n".join(str(part.get("text", "")) for part in content if part.get("type") == "text")
    if result.get("isError"):
        raise ActionError(
            f"the tool {params.tool!r} failed: {text[:500]}",
            retryable=False,
            details={"text": text[:2000]},
        )
    return McpResult(text=text, structured=result.get("structuredContent"), content=content)


@action("mcp_tools", cancellable=True)
async def mcp_tools(params: McpToolsParams, context: ActionContext) -> McpToolsResult:
    """List the tools of an MCP server, to tell a model of them.

    Raises NOT_FOUND (final) for a tool that the server does not have, LIMIT_EXCEEDED for a server
    with more than 200, else as `mcp`.
    """
    found: dict[str, McpTool] = {}
    cursor: str | None = None
    async with _session(params, context) as session:
        while True:
            given = {} if cursor is None else {"cursor": cursor}
            page = await session.request("tools/list", given)
            found |= {tool.name: tool for tool in map(_tool, page.get("tools") or [])}
            cursor = page.get("nextCursor")
            if len(found) > MAX_TOOLS:
                raise ActionError(
                    f"the MCP server has more than {MAX_TOOLS} tools",
                    code=ErrorCode.LIMIT_EXCEEDED,
                    retryable=False,
                )
            if not isinstance(cursor, str) or not page.get("tools"):
                break
    if params.tools == "all":
        return McpToolsResult(tools=list(found.values()))
    missing = [name for name in params.tools if name not in found]
    if missing:
        raise ActionError(
            f"the MCP server has no tool {missing[0]!r}",
            code=ErrorCode.NOT_FOUND,
            retryable=False,
            hint=f"it has {', '.join(sorted(found))[:500]}",
        )
    return McpToolsResult(tools=[found[name] for name in params.tools])


def _tool(told: Any) -> McpTool:
    try:
        return McpTool(
            name=told["name"],
            description=told.get("description") or told.get("title") or "",
            parameters=told.get("inputSchema") or {"type": "object"},
        )
    except (ValidationError, KeyError, TypeError, AttributeError) as error:
        raise ActionError(
            "the MCP server's list of tools cannot be read",
            code=ErrorCode.HTTP_ERROR,
            retryable=False,
        ) from error


@asynccontextmanager
async def _session(params: McpServerParams, context: ActionContext) -> AsyncIterator[Session]:
    """Open a session for one attempt, within its time; the transport's errors become ours."""
    try:
        async with asyncio.timeout(context.budget):
            url, headers = params.url, {}
            if params.connection is not None:
                url, headers = await authorised(context, params.connection, url, {})
            try:
                check_url(url)
            except ValueError as error:
                raise ActionError(
                    f"the url is wrong: {error}", code=ErrorCode.INVALID_INPUT, retryable=False
                ) from error
            async with Session(context.services.http, url, headers, context.budget) as session:
                yield session
    except TimeoutError as error:
        raise ActionError(
            f"no whole answer within {context.budget:g} s", code=ErrorCode.STEP_TIMEOUT
        ) from error
    except httpx2.TransportError as error:
        raise ActionError(
            f"the connection failed: {type(error).__name__}: {error}", code=ErrorCode.HTTP_ERROR
        ) from error
