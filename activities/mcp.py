"""The `mcp` action: one call of a tool of an MCP server."""

import asyncio
from typing import Annotated, Any

import httpx2
from pydantic import BaseModel, ConfigDict, Field

from activities._mcp import Session
from activities._urls import check_url
from activities.context import ActionContext
from activities.errors import ActionError
from activities.http_auth import authorised
from activities.registry import action
from schemas.connections import CONNECTION_NAME
from schemas.errors import ErrorCode


class McpParams(BaseModel):
    """Parameters of `mcp`."""

    model_config = ConfigDict(extra="forbid", title="mcp")

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
    tool: str = Field(min_length=1, max_length=200, description="the tool's name")
    arguments: dict[str, Any] = Field(default_factory=dict, description="the tool's arguments")


class McpResult(BaseModel):
    """What the tool gave."""

    text: str = Field(description="its texts, in lines")
    structured: Any = Field(default=None, description="its structured result, where it gives one")
    content: list[dict[str, Any]] = Field(description="all parts, as they came")


@action("mcp", cancellable=True)
async def mcp(params: McpParams, context: ActionContext) -> McpResult:
    """Call a tool of an MCP server over streamable HTTP.

    Each attempt is a session of its own, and calls anew. Raises STEP_FAILED (final) where the tool
    says that it failed, INVALID_INPUT for arguments that the server refuses, HTTP_ERROR as `http`
    does, FORBIDDEN for a target that is not public, LIMIT_EXCEEDED, STEP_TIMEOUT.
    """
    try:
        async with asyncio.timeout(context.budget):
            return await _called(params, context)
    except TimeoutError as error:
        raise ActionError(
            f"no whole answer within {context.budget:g} s", code=ErrorCode.STEP_TIMEOUT
        ) from error
    except httpx2.TransportError as error:
        raise ActionError(
            f"the connection failed: {type(error).__name__}: {error}", code=ErrorCode.HTTP_ERROR
        ) from error


async def _called(params: McpParams, context: ActionContext) -> McpResult:
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
