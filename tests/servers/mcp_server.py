"""Plays an MCP server over streamable HTTP on loopback, strictly: wrong steps are refused."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from tests.servers.wire import Received, WireAnswers, respond

SESSION = "session-1"
_NUMBERS = {
    "type": "object",
    "required": ["a", "b"],
    "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
}
TOOLS: list[dict[str, Any]] = [
    {"name": "add", "description": "Add two numbers.", "inputSchema": _NUMBERS},
    {"name": "look", "inputSchema": _NUMBERS, "annotations": {"readOnlyHint": True}},
    {"name": "put", "inputSchema": _NUMBERS, "annotations": {"idempotentHint": True}},
    {"name": "fail", "title": "Fails", "inputSchema": {"type": "object"}},
    {"name": "strict", "inputSchema": {"type": "object"}},
]


@dataclass
class McpServer(WireAnswers):
    """A server with the tools `add`, `look`, `put` (alike), `fail` and `strict`.

    `tools/list` gives one tool a page. `stream` answers with server-sent events that never end;
    `status` other than 200 refuses. Of the methods in `lose` the answer is lost after the work is
    done: "drop" and "end" (of a stream) break the connection, "hang" says nothing, a number is a
    status. `done` counts calls of tools that took effect. Use it as `async with`.
    """

    stream: bool = False
    status: int = 200
    seen: list[str] = field(default_factory=list)
    lose: dict[str, str | int] = field(default_factory=dict)
    done: int = 0

    @property
    def url(self) -> str:
        """The endpoint."""
        return f"{self._wire.url}/mcp"

    async def answer(self, request: Received, writer: asyncio.StreamWriter) -> None:
        if request.method == "DELETE":
            self.seen.append("DELETE")
            if "DELETE" in self.lose:
                await _lost(self.lose["DELETE"], writer)
            else:
                respond(writer, 204)
            return
        message = json.loads(request.body)
        method = message["method"]
        self.seen.append(method)
        accepted = request.headers.get("accept", "")
        known = method == "initialize" or (
            request.headers.get("mcp-session-id") == SESSION
            and request.headers.get("mcp-protocol-version") == "2025-06-18"
        )
        if self.status != 200 or not known or "text/event-stream" not in accepted:
            respond(writer, self.status if self.status != 200 else 400, b"refused")
            return
        if method == "tools/call":
            self.done += 1
        lost = self.lose.get(method)
        if lost is not None:
            await _lost(lost, writer)
            return
        if "id" not in message:
            respond(writer, 202)
            return
        answer = json.dumps({"jsonrpc": "2.0", "id": message["id"], **_outcome(message)}).encode()
        headers = {"mcp-session-id": SESSION} if method == "initialize" else {}
        if not self.stream:
            respond(writer, 200, answer, {"content-type": "application/json", **headers})
            return
        note = b'data: {"jsonrpc": "2.0", "method": "notifications/progress"}\n\n'
        head = "".join(f"{name}: {text}\r\n" for name, text in headers.items()).encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n"
            + head
            + b"\r\n"
            + note
            + b"event: message\r\ndata: "
            + answer
            + b"\r\n\r\n"
        )
        await writer.drain()
        # The other side has what it needs, and goes.
        await asyncio.Event().wait()


async def _lost(how: str | int, writer: asyncio.StreamWriter) -> None:
    if isinstance(how, int):
        respond(writer, how, b"lost")
    elif how == "hang":
        await asyncio.Event().wait()
    else:
        if how == "end":
            head = (
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
            )
            writer.write(head)
        writer.close()


def _outcome(message: dict[str, Any]) -> dict[str, Any]:
    if message["method"] == "initialize":
        return {
            "result": {
                "protocolVersion": message["params"]["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "test", "version": "1"},
            }
        }
    if message["method"] == "tools/list":
        place = int(message["params"].get("cursor", "0"))
        more = {"nextCursor": str(place + 1)} if place + 1 < len(TOOLS) else {}
        return {"result": {"tools": [TOOLS[place]], **more}}
    given = message["params"]
    if given["name"] in ("add", "look", "put"):
        total = given["arguments"]["a"] + given["arguments"]["b"]
        text = {"type": "text", "text": str(total)}
        return {"result": {"content": [text], "structuredContent": {"total": total}}}
    if given["name"] == "fail":
        text = {"type": "text", "text": "it went wrong"}
        return {"result": {"content": [text], "isError": True}}
    return {"error": {"code": -32602, "message": f"unknown tool: {given['name']}"}}
