"""A question to a model and its reply, as plain data: nothing of a vendor's library is in them.

A conversation is a list of messages, each a JSON object:
`{role: user | assistant, content}`; `{role: reply, message}` with the `message` of a Reply, as the
model said it; `{role: tool, id, name, content, failed?}`, what came of a call that it asked for.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, Field

from activities.errors import ActionError
from db.base import dump_json

# The tool by which a model gives a structured answer; no other tool may have its name.
OUTPUT_TOOL = "final_result"


@dataclass(frozen=True, slots=True)
class Choice:
    """A model to ask, as `provider:name`; the name alone where a connection says the provider."""

    model: str
    connection: str | None = None


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may ask to have called; `parameters` is a schema of an object."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """One request to a model.

    `choices` are asked in order until one answers. With `schema` (of an object) the answer is
    structured; with `tools` as well the model may call them first. `cache` is how long another
    step that asks the same may have the answer.
    """

    choices: tuple[Choice, ...]
    messages: Sequence[Mapping[str, Any]]
    system: str | None = None
    schema: Mapping[str, Any] | None = None
    tools: tuple[Tool, ...] = ()
    temperature: float | None = None
    max_tokens: int | None = None
    cache: timedelta | None = None

    def fingerprint(self, *of: str) -> str:
        """Give the SHA-256, in hex, of all that the answer depends on, and of `of`."""
        asked = [
            [dict(message) for message in self.messages],
            self.system,
            self.schema,
            [[tool.name, tool.description, tool.parameters] for tool in self.tools],
            self.temperature,
            self.max_tokens,
        ]
        who = list(of) or [[choice.model, choice.connection] for choice in self.choices]
        return hashlib.sha256(dump_json([who, asked]).encode()).hexdigest()

    def followed(self, *messages: Mapping[str, Any]) -> "Question":
        """Give the question with more messages at its end."""
        return replace(self, messages=[*self.messages, *messages])


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a model is reached, and with which key.

    `circuit` names its circuit breaker, which is of one workspace where that is set.
    """

    provider: str
    model: str
    circuit: str
    workspace: str = ""
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    organization: str | None = None
    project: str | None = None


class ToolCall(BaseModel):
    """A call that the model asks for; `arguments` is None where they are no JSON object."""

    id: str
    name: str
    arguments: dict[str, Any] | None


class Reply(BaseModel):
    """What a model said, and what it cost.

    `output` holds the arguments of the structured answer, as the model gave them: unchecked.
    `message` goes into the conversation as it is. `complete` is False where the answer was cut at
    its longest. `stored`: an earlier attempt had paid for it.
    """

    text: str = ""
    output: ToolCall | None = None
    calls: list[ToolCall] = Field(default_factory=list)
    message: Any
    provider: str
    model: str
    asked: str = Field(description="the model's name as it was asked for")
    circuit: str
    request_id: str | None = Field(default=None, description="the provider's name of the answer")
    input_tokens: int = 0
    output_tokens: int = 0
    cost: Decimal | None = None
    complete: bool = True
    cached: bool = False
    stored: bool = False
    repaired: bool = Field(
        default=False, description="the answer was the second: the first did not fit"
    )

    def said(self) -> dict[str, Any]:
        """Give the message that stands for this reply in a conversation."""
        return {"role": "reply", "message": self.message}


class ModelFault(ActionError):
    """A model gave no answer.

    `down`: its provider did not serve the call, which counts against the circuit. `in_doubt`: the
    call may have been paid for.
    """

    def __init__(
        self, message: str, *, down: bool = False, in_doubt: bool = False, **given: Any
    ) -> None:
        """Build a fault; `given` as for ActionError."""
        super().__init__(message, **given)
        self.down = down
        self.in_doubt = in_doubt
