"""Plays three vendors' model APIs on loopback: OpenAI, Anthropic messages and Gemini.

Tests tell it what to answer; it speaks the real wire formats, so the vendors' own SDKs talk to it.
"""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from tests.servers.wire import Received, WireAnswers, respond


@dataclass
class AiServer(WireAnswers):
    """A model server; use it as `async with AiServer() as server`.

    `output` is what structured requests get (as the arguments of the tool the request forces),
    `text` what others get. `status` other than 200 makes every request fail, after the failures
    queued in `failures` have been used up; `retry_after` goes along with a failure. `delay` is
    in seconds. `script` says what requests over OpenAI's protocol with tools are answered, in
    order: a text, or the calls as a list of (name, arguments). `raw` replaces the whole body.
    `outputs` are given before `output`, one a request. `calls` holds each request's path and
    JSON.
    """

    text: str = "Hello from the model."
    output: Any = field(default_factory=dict)
    outputs: list[Any] = field(default_factory=list)
    script: list[Any] = field(default_factory=list)
    status: int = 200
    failures: list[int] = field(default_factory=list)
    retry_after: str | None = None
    delay: float = 0.0
    raw: bytes | None = None
    plain_answer: bool = False
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    @property
    def openai_url(self) -> str:
        """Base URL for OpenAI's protocol."""
        return f"{self._wire.url}/v1"

    @property
    def anthropic_url(self) -> str:
        """Base URL for Anthropic's protocol."""
        return self._wire.url

    @property
    def google_url(self) -> str:
        """Base URL for Google's protocol."""
        return self._wire.url

    async def answer(self, request: Received, writer: asyncio.StreamWriter) -> None:
        sent: dict[str, Any] = json.loads(request.body or b"{}")
        path = request.target.split("?")[0]
        self.calls.append((path, sent))
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        given = request.headers.get("x-goog-api-key", bearer)
        self.keys.append(request.headers.get("x-api-key", given))
        if self.delay:
            await asyncio.sleep(self.delay)
        status = self.failures.pop(0) if self.failures else self.status
        headers = {"content-type": "application/json"}
        if status != 200 and self.retry_after is not None:
            headers["retry-after"] = self.retry_after
        if self.raw is not None:
            respond(writer, status, self.raw, headers)
            return
        anthropic = path.endswith("/messages")
        google = path.endswith(":generateContent")
        if status != 200:
            body = self._failure(status, "anthropic" if anthropic else "google" if google else "")
        elif google:
            body = self._generated(path, sent)
        elif anthropic:
            body = self._messages(sent)
            if sent.get("stream"):
                # The SDK streams when an answer may be long, and pydantic-ai lets it.
                respond(writer, 200, _streamed(body), {"content-type": "text/event-stream"})
                return
        else:
            body = self._completion(sent)
        respond(writer, status, json.dumps(body).encode(), headers)

    def _next(self) -> Any:
        return self.outputs.pop(0) if self.outputs else self.output

    def _failure(self, status: int, vendor: str) -> dict[str, Any]:
        message = f"the server was told to answer {status}"
        if vendor == "google":
            names = {400: "INVALID_ARGUMENT", 429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE"}
            told = {"code": status, "message": message, "status": names.get(status, "UNKNOWN")}
            return {"error": told}
        if vendor == "anthropic":
            kind = {429: "rate_limit_error", 529: "overloaded_error", 401: "authentication_error"}
            return {
                "type": "error",
                "error": {"type": kind.get(status, "api_error"), "message": message},
            }
        return {"error": {"message": message, "type": "error", "param": None, "code": None}}

    def _completion(self, sent: dict[str, Any]) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": self.text, "refusal": None}
        finish = "stop"
        if self.script:
            return self._chosen(sent, self.script.pop(0))
        schema = sent.get("response_format", {}).get("type") == "json_schema"
        if schema:
            message["content"] = _written(self._next())
        elif sent.get("tools") and not self.plain_answer:
            finish = "tool_calls"
            message["content"] = None
            message["tool_calls"] = [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {
                        "name": sent["tools"][0]["function"]["name"],
                        "arguments": _written(self._next()),
                    },
                }
            ]
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1_780_000_000,
            "model": sent.get("model", "unknown"),
            "choices": [
                {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
            ],
            "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
        }

    def _chosen(self, sent: dict[str, Any], turn: str | list[tuple[str, Any]]) -> dict[str, Any]:
        """Answer as the script says."""
        message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
        if isinstance(turn, str):
            message["content"] = turn
        else:
            message["tool_calls"] = [
                {
                    "id": f"call_{len(self.calls)}_{place}",
                    "type": "function",
                    "function": {"name": name, "arguments": _written(arguments)},
                }
                for place, (name, arguments) in enumerate(turn)
            ]
        finish = "stop" if isinstance(turn, str) else "tool_calls"
        return {
            "id": f"chatcmpl-{len(self.calls)}",
            "object": "chat.completion",
            "created": 1_780_000_000,
            "model": sent.get("model", "unknown"),
            "choices": [
                {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
            ],
            "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
        }

    def _messages(self, sent: dict[str, Any]) -> dict[str, Any]:
        content: list[dict[str, Any]] = [{"type": "text", "text": self.text}]
        reason = "end_turn"
        if sent.get("tools") and not self.plain_answer:
            reason = "tool_use"
            content = [
                {
                    "type": "tool_use",
                    "id": "toolu_1",
                    "name": sent["tools"][0]["name"],
                    "input": self._next(),
                }
            ]
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": sent.get("model", "unknown"),
            "content": content,
            "stop_reason": reason,
            "stop_sequence": None,
            "usage": {"input_tokens": 13, "output_tokens": 5},
        }

    def _generated(self, path: str, sent: dict[str, Any]) -> dict[str, Any]:
        part: dict[str, Any] = {"text": self.text}
        if sent.get("tools") and not self.plain_answer:
            declared = sent["tools"][0]["functionDeclarations"][0]
            part = {"functionCall": {"name": declared["name"], "args": self._next()}}
        return {
            "candidates": [
                {
                    "content": {"role": "model", "parts": [part]},
                    "finishReason": "STOP",
                    "index": 0,
                }
            ],
            "usageMetadata": {
                "promptTokenCount": 17,
                "candidatesTokenCount": 3,
                "totalTokenCount": 20,
            },
            "modelVersion": path.rpartition("/")[2].removesuffix(":generateContent"),
            "responseId": "resp-1",
        }


def _written(output: Any) -> str:
    """A string is sent as it is, so that tests can send broken JSON."""
    return output if isinstance(output, str) else json.dumps(output)


def _streamed(message: dict[str, Any]) -> bytes:
    """Cut a whole Anthropic message into the server-sent events that stream it."""
    usage = message["usage"]
    opening = {**message, "content": [], "stop_reason": None}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": opening | {"usage": usage | {"output_tokens": 1}}}
    ]
    for index, block in enumerate(message["content"]):
        if block["type"] == "text":
            empty = {"type": "text", "text": ""}
            delta = {"type": "text_delta", "text": block["text"]}
        else:
            empty = {**block, "input": {}}
            delta = {"type": "input_json_delta", "partial_json": _written(block["input"])}
        events += [
            {"type": "content_block_start", "index": index, "content_block": empty},
            {"type": "content_block_delta", "index": index, "delta": delta},
            {"type": "content_block_stop", "index": index},
        ]
    ending = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    events += [
        {
            "type": "message_delta",
            "delta": ending,
            "usage": {"output_tokens": usage["output_tokens"]},
        },
        {"type": "message_stop"},
    ]
    return "".join(
        f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events
    ).encode()
