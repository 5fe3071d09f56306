"""agent: a model that may call tools, each of which is a list of steps."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from schemas.durations import Duration
from schemas.policies import Priority, Retry, Strict
from schemas.step_base import StepBase, StepId, StepLists

if TYPE_CHECKING:
    from schemas.steps import Step

MAX_TURNS = 50
MAX_TOOLS = 20
# Of a conversation, as JSON: it travels with every turn, and with the run's state.
MAX_CONVERSATION_BYTES = 200 * 1024
# Of one tool's answer, as the model is told it.
MAX_TOOL_ANSWER_BYTES = 32 * 1024
# The tool by which a model gives a structured answer.
_RESERVED = "final_result"


class AgentQuestion(Strict):
    """What the model is asked, and which model; the fields are those of `ai`."""

    model: str | None = None
    provider: str | None = None
    connection: str | None = None
    fallback: list[Any] = Field(default_factory=list)
    prompt: str | None = None
    messages: list[dict[str, Any]] | str | None = None
    system: str | None = None
    output: dict[str, Any] | None = None
    temperature: float | str | None = None
    max_tokens: int | str | None = None

    @model_validator(mode="after")
    def _asked(self) -> Self:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give exactly one of 'prompt' and 'messages'")
        return self


class AgentTool(Strict):
    """A tool: the steps in `do` run with the model's `args`; their last output is its answer.

    A failure of them is told to the model, which may try something else.
    """

    name: StepId
    description: Annotated[str, Field(min_length=1, max_length=2000)]
    parameters: dict[str, Any] = Field(default_factory=lambda: {"type": "object"})
    do: "Annotated[list[Step], Field(min_length=1)]"

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.name == _RESERVED:
            raise ValueError(f"{_RESERVED!r} is the name of the answer itself")
        if self.parameters.get("type", "object") != "object":
            raise ValueError("'parameters' is the JSON Schema of an object")
        return self


class AgentBudget(Strict):
    """What one agent may use; refused before the call that could take more."""

    tokens: Annotated[int, Field(ge=1, le=10**9)] | None = None
    usd: Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.tokens is None and self.usd is None:
            raise ValueError("a budget needs 'tokens' or 'usd'")
        return self


class Agent(StepBase):
    """Asks a model that may call tools until it answers; each turn and each call is durable.

    Output is {output, text, turns, calls, model, provider, usage}.
    """

    type: Literal["agent"]
    with_: AgentQuestion = Field(alias="with")
    tools: Annotated[list[AgentTool], Field(max_length=MAX_TOOLS)] = Field(default_factory=list)
    max_turns: Annotated[int, Field(ge=1, le=MAX_TURNS)] = 10
    budget: AgentBudget | None = None
    timeout: Duration | None = Field(default=None, description="of one try of one turn")
    retry: Retry | None = None
    priority: Priority | None = None

    @model_validator(mode="after")
    def _names(self) -> Self:
        names = [tool.name for tool in self.tools]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"tool names must differ: {', '.join(twice)}")
        return self

    def question(self) -> dict[str, Any]:
        """Give `with` as it was written."""
        return self.with_.model_dump(by_alias=True, exclude_unset=True)

    def tool_lists(self) -> StepLists:
        """The steps of the tools."""
        return [(f"tools[{index}].do", tool.do) for index, tool in enumerate(self.tools)]

    def hidden_lists(self) -> StepLists:
        """The tools, then recovery."""
        return [*self.tool_lists(), *self.recovery_lists()]
