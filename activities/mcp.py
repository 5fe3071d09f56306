"""The actions `mcp` and `mcp_tools`: a call of a tool of an MCP server, and which it has."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
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
from schemas.errors import ErrorCode, SojournError

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
    idempotent: bool | None = Field(
        default=None,
        description="a call that is made twice does no more than one: it is then tried again after"
        " any lost answer; without it the server is asked for its `readOnlyHint` and"
        " `idempotentHint` of the tool",
    )


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


@dataclass
class _Course:
    """How far an attempt has come: whether the tool was `asked`, and may be asked twice."""

    session: Session | None = None
    asked: bool = False
    repeatable: bool = False

    def judge(self, error: SojournError) -> None:
        """Say of an error whether the tool may have run, and if so, whether it may run again."""
        begun = self.session is not None and self.session.begun
        if error.in_doubt is None or not self.asked:
            error.in_doubt = self.asked and begun
        if not (isinstance(error, ActionError) and error.in_doubt and error.retryable):
            return
        if not self.repeatable:
            error.retryable = False
            error.retry_after = None
            error.hint = (
                "the tool may have done its work; where a second call does no harm,"
                " 'idempotent: true' has it tried again"
            )
            error.details = {**(error.details or {}), "in_doubt": True}


@action("mcp", cancellable=True, ledger="common")
async def mcp(params: McpParams, context: ActionContext) -> McpResult:
    """Call a tool of an MCP server over streamable HTTP.

    Each attempt is a session of its own, and calls anew. Raises STEP_FAILED (final) where the tool
    says that it failed, INVALID_INPUT for arguments that the server refuses, HTTP_ERROR as `http`
    does for POST (a call whose answer was lost is tried again only where the tool is idempotent),
    FORBIDDEN for a target that is not public, LIMIT_EXCEEDED, STEP_TIMEOUT.
    """
    course = _Course()
    result: dict[str, Any] | None = None
    try:
        async with _session(params, context, course) as session:
            course.repeatable = await _repeatable(params, context, session)
            course.asked = True
            given = {"name": params.tool, "arguments": params.arguments}
            result = await session.request("tools/call", given)
    except SojournError as error:
        # What breaks after the answer, at the session's end, is no matter.
        if result is None:
            course.judge(error)
            raise
    content = [part for part in result.get("content") or [] if isinstance(part, dict)]
    text = "\n".join(str(part.get("text", "")) for part in content if part.get("type") == "text")
    if result.get("isError"):
        raise ActionError(
            f"the tool {params.tool!r} failed: {text[:500]}",
            retryable=False,
            details={"text": text[:2000]},
            in_doubt=False,
        )
    return McpResult(text=text, structured=result.get("structuredContent"), content=content)


@action("mcp_tools", cancellable=True)
async def mcp_tools(params: McpToolsParams, context: ActionContext) -> McpToolsResult:
    """List the tools of an MCP server, to tell a model of them.

    Raises NOT_FOUND (final) for a tool that the server does not have, LIMIT_EXCEEDED for a server
    with more than 200, else as `mcp`.
    """
    found: dict[str, McpTool] = {}
    async with _session(params, context, _Course()) as session:
        async for told in _listed(session):
            tool = _tool(told)
            found[tool.name] = tool
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


async def _listed(session: Session) -> AsyncGenerator[Any]:
    """Give what a server says of each of its tools, page by page; LIMIT_EXCEEDED above 200."""
    cursor: str | None = None
    count = 0
    while True:
        page = await session.request("tools/list", {} if cursor is None else {"cursor": cursor})
        told = page.get("tools")
        if not isinstance(told, list) or not told:
            return
        count += len(told)
        if count > MAX_TOOLS:
            raise ActionError(
                f"the MCP server has more than {MAX_TOOLS} tools",
                code=ErrorCode.LIMIT_EXCEEDED,
                retryable=False,
            )
        for one in told:
            yield one
        cursor = page.get("nextCursor")
        if not isinstance(cursor, str):
            return


async def _repeatable(params: McpParams, context: ActionContext, session: Session) -> bool:
    """Tell whether the tool may be called twice: as the step says, else as its server does.

    Asked before the call, because a server that has lost an answer may give no other one either.
    """
    if params.idempotent is not None or context.step.once:
        return params.idempotent is True
    try:
        async with aclosing(_listed(session)) as listed:
            async for told in listed:
                if isinstance(told, dict) and told.get("name") == params.tool:
                    hints = told.get("annotations")
                    return isinstance(hints, dict) and (
                        hints.get("readOnlyHint") is True or hints.get("idempotentHint") is True
                    )
    except ActionError as error:
        # A server that says nothing of its tools; one that is away ends the attempt here.
        if error.retryable:
            raise
    return False


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
async def _session(
    params: McpServerParams, context: ActionContext, course: _Course
) -> AsyncIterator[Session]:
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
            session = Session(context.services.http, url, headers, context.budget)
            course.session = session
            async with session:
                yield session
    except TimeoutError as error:
        raise ActionError(
            f"no whole answer within {context.budget:g} s", code=ErrorCode.STEP_TIMEOUT
        ) from error
    except httpx2.TransportError as error:
        raise ActionError(
            f"the connection failed: {type(error).__name__}: {error}", code=ErrorCode.HTTP_ERROR
        ) from error
