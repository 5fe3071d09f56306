"""The ai action through the vendors' own SDKs, against a server that speaks their protocols."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from activities.ai import AiParams, AiResult, ai, preload
from activities.context import ActionContext
from activities.errors import ActionError
from activities.services import AiConfig, Services
from tests.servers.ai_server import AiServer

TRIAGE = {
    "type": "object",
    "properties": {
        "score": {"type": "integer", "minimum": 0, "maximum": 10},
        "reason": {"type": "string"},
    },
    "required": ["score", "reason"],
    "additionalProperties": False,
}
MODELS = ["openai:gpt-4o-mini", "anthropic:claude-haiku-4-5", "google:gemini-2.5-flash"]
PATHS = {
    "openai": "/v1/chat/completions",
    "anthropic": "/v1/messages",
    "google": "/v1beta/models/gemini-2.5-flash:generateContent",
}
TOKENS = {"openai": (11, 7, 1), "anthropic": (13, 5, 1), "google": (17, 3, 1)}


@pytest.fixture(scope="module", autouse=True)
async def libraries() -> None:
    """Import the libraries before any test's clock runs."""
    await preload()


@pytest.fixture
async def server() -> AsyncIterator[AiServer]:
    async with AiServer() as running:
        yield running


@pytest.fixture
async def context(context: ActionContext, server: AiServer) -> AsyncIterator[ActionContext]:
    services = Services(
        ai=AiConfig(
            openai_base_url=server.openai_url,
            openai_api_key="sk-open",
            anthropic_base_url=server.anthropic_url,
            anthropic_api_key="sk-anthropic",
            google_base_url=server.google_url,
            google_api_key="sk-google",
        )
    )
    yield replace(context, services=services)
    await services.aclose()


async def ask(context: ActionContext, **given: Any) -> AiResult:
    return await ai(AiParams.model_validate(given), context)


@pytest.mark.parametrize("model", MODELS)
async def test_a_text_answer(context: ActionContext, server: AiServer, model: str) -> None:
    result = await ask(context, model=model, prompt="Say hello.", system="Be brief.")
    provider, _, name = model.partition(":")
    assert result.output == result.text == "Hello from the model."
    assert result.model == name
    usage = result.usage
    assert (usage.input_tokens, usage.output_tokens, usage.requests) == TOKENS[provider]
    ((path, sent),) = server.calls
    assert path == PATHS[provider]
    if provider == "google":
        assert "Be brief." in str(sent["systemInstruction"])
        assert "Say hello." in str(sent["contents"][-1])
    else:
        assert sent["model"] == name
        assert "Be brief." in str(sent.get("system") or sent["messages"][0])
        assert "Say hello." in str(sent["messages"][-1]["content"])
    keys = {"openai": "sk-open", "anthropic": "sk-anthropic", "google": "sk-google"}
    assert server.keys == [keys[provider]]


@pytest.mark.parametrize("model", MODELS)
async def test_a_structured_answer(context: ActionContext, server: AiServer, model: str) -> None:
    server.output = {"score": 7, "reason": "a large budget"}
    result = await ask(
        context, model=model, prompt="Rate it.", output=TRIAGE, temperature=0.1, max_tokens=100
    )
    assert result.output == {"score": 7, "reason": "a large budget"}
    assert result.text is None
    ((_, sent),) = server.calls
    told = sent.get("generationConfig", sent)
    assert told["temperature"] == 0.1
    cut = ("max_tokens", "max_completion_tokens", "maxOutputTokens")
    assert 100 in [told.get(name) for name in cut]
    assert "minimum" in str(sent["tools"]) or "score" in str(sent["tools"])


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("schema", "output"),
    [
        ({"type": "array", "items": {"type": "string"}}, ["a", "b"]),
        ({"type": "string", "enum": ["hot", "cold"]}, "hot"),
        ({"$ref": "#/$defs/N", "$defs": {"N": {"type": "integer"}}}, 3),
    ],
)
async def test_schemas_that_are_no_objects(
    context: ActionContext, server: AiServer, model: str, schema: dict[str, Any], output: Any
) -> None:
    server.output = {"value": output}
    result = await ask(context, model=model, prompt="List.", output=schema)
    assert result.output == output


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    "output", [{"score": 99, "reason": "x"}, {"score": "high"}, {}, {"score": 1, "reason": 2}]
)
async def test_an_answer_that_does_not_fit(
    context: ActionContext, server: AiServer, model: str, output: Any
) -> None:
    server.output = output
    with pytest.raises(ActionError) as caught:
        await ask(context, model=model, prompt="Rate it.", output=TRIAGE)
    assert caught.value.code == "AI_INVALID_OUTPUT"
    assert caught.value.problems
    assert not caught.value.retryable
    assert len(server.calls) == 2  # the second time it is told what was wrong
    assert "does not fit the schema" in str(server.calls[1][1])
    assert "does not fit the schema" not in str(server.calls[0][1])


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("plain", [False, True])
async def test_an_answer_is_repaired_once(
    context: ActionContext, server: AiServer, model: str, plain: bool
) -> None:
    server.plain_answer = plain
    server.outputs = [{"score": 11, "reason": "x"}, {"score": 9, "reason": "x"}]
    asking = ask(context, model=model, prompt="Rate it.", output=TRIAGE)
    if plain:
        with pytest.raises(ActionError, match="must be a structured result"):
            await asking
        return
    result = await asking
    assert result.output == {"score": 9, "reason": "x"}
    assert result.repaired
    usage, once = result.usage, TOKENS[model.partition(":")[0]]
    assert (usage.input_tokens, usage.output_tokens) == (2 * once[0], 2 * once[1])
    assert usage.requests == len(server.calls) == 2
    assert "greater than the maximum" in str(server.calls[1][1])


async def test_an_answer_that_is_no_json(context: ActionContext, server: AiServer) -> None:
    server.output = '{"score": 7, "rea'
    with pytest.raises(ActionError) as caught:
        await ask(context, model=MODELS[0], prompt="Rate it.", output=TRIAGE)
    assert caught.value.code == "AI_INVALID_OUTPUT"
    assert len(server.calls) == 2


@pytest.mark.parametrize("model", MODELS)
async def test_words_where_a_structure_was_asked(
    context: ActionContext, server: AiServer, model: str
) -> None:
    server.plain_answer = True
    with pytest.raises(ActionError) as caught:
        await ask(context, model=model, prompt="Rate it.", output=TRIAGE)
    assert caught.value.code == "AI_INVALID_OUTPUT"
    assert len(server.calls) == 2


async def test_a_conversation(context: ActionContext, server: AiServer) -> None:
    await ask(
        context,
        model=MODELS[0],
        messages=[
            {"role": "system", "content": "You sell."},
            {"role": "user", "content": "One?"},
            {"role": "assistant", "content": "Two."},
            {"role": "user", "content": "Three?"},
        ],
    )
    sent = server.calls[0][1]["messages"]
    assert [(one["role"], one["content"]) for one in sent] == [
        ("system", "You sell."),
        ("user", "One?"),
        ("assistant", "Two."),
        ("user", "Three?"),
    ]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("status", [429, 500, 503, 529])
async def test_failures_worth_another_attempt(
    context: ActionContext, server: AiServer, model: str, status: int
) -> None:
    server.status, server.retry_after = status, "12"
    with pytest.raises(ActionError) as caught:
        await ask(context, model=model, prompt="Hi")
    assert caught.value.code == "AI_UNAVAILABLE"
    assert caught.value.retryable
    assert caught.value.retry_after == 12
    assert caught.value.details["status"] == status
    assert len(server.calls) == 1


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "INVALID_INPUT"),
        (404, "INVALID_INPUT"),
        (401, "AI_UNAVAILABLE"),
        (403, "AI_UNAVAILABLE"),
    ],
)
async def test_failures_for_good(
    context: ActionContext, server: AiServer, model: str, status: int, code: str
) -> None:
    server.status = status
    with pytest.raises(ActionError) as caught:
        await ask(context, model=model, prompt="Hi")
    assert caught.value.code == code
    assert not caught.value.retryable
    assert f"told to answer {status}" in caught.value.message
    assert "sk-" not in str(caught.value.message) + str(caught.value.details)


@pytest.mark.parametrize("model", MODELS)
async def test_a_body_that_is_no_answer(
    context: ActionContext, server: AiServer, model: str
) -> None:
    server.raw = b"<html>gateway</html>"
    with pytest.raises(ActionError) as caught:
        await ask(context, model=model, prompt="Hi")
    assert caught.value.code in ("AI_UNAVAILABLE", "AI_INVALID_OUTPUT")


async def test_a_slow_model_ends_at_the_deadline(context: ActionContext, server: AiServer) -> None:
    server.delay = 30
    begun = time.monotonic()
    with pytest.raises(ActionError) as caught:
        await ask(replace(context, timeout=timedelta(seconds=0.5)), model=MODELS[0], prompt="Hi")
    assert time.monotonic() - begun < 10
    assert caught.value.code == "STEP_TIMEOUT"
    assert caught.value.retryable


async def test_a_server_that_is_away(context: ActionContext) -> None:
    async with AiServer() as gone:
        url = gone.openai_url
    services = Services(ai=AiConfig(openai_base_url=url))
    with pytest.raises(ActionError) as caught:
        await ask(replace(context, services=services), model=MODELS[0], prompt="Hi")
    await services.aclose()
    assert caught.value.code == "AI_UNAVAILABLE"
    assert caught.value.retryable


async def test_only_the_named_origin_is_open(context: ActionContext, server: AiServer) -> None:
    """A redirect or another base URL may not lead to other internal addresses."""
    services = Services(ai=AiConfig(openai_base_url="http://169.254.169.254/v1"))
    with pytest.raises(ActionError) as caught:
        await ask(replace(context, services=services), model=MODELS[0], prompt="Hi")
    await services.aclose()
    assert caught.value.code == "FORBIDDEN"
    assert not caught.value.retryable


@pytest.mark.parametrize("model", MODELS)
async def test_a_provider_without_key(
    context: ActionContext, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The SDKs would read these; Sojourn's settings alone decide.
    monkeypatch.setenv("OPENAI_API_KEY", "sk-from-environment")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-from-environment")
    monkeypatch.setenv("GOOGLE_API_KEY", "sk-from-environment")
    services = Services()
    with pytest.raises(ActionError) as caught:
        await ask(replace(context, services=services), model=model, prompt="Hi")
    await services.aclose()
    assert caught.value.code == "AI_UNAVAILABLE"
    assert not caught.value.retryable
    assert caught.value.hint is not None
    assert "API_KEY" in caught.value.hint


@pytest.mark.parametrize(
    "given", [{"model": "gpt-4o"}, {}, {"model": "gemini:flash"}, {"model": "openai:"}]
)
async def test_models_that_cannot_be_meant(context: ActionContext, given: dict[str, Any]) -> None:
    with pytest.raises(ActionError) as caught:
        await ask(context, prompt="Hi", **given)
    assert caught.value.code == "INVALID_INPUT"
    assert not caught.value.retryable
    assert caught.value.hint


async def test_provider_and_default_model(context: ActionContext, server: AiServer) -> None:
    await ask(context, provider="anthropic", model="claude-x", prompt="Hi")
    services = context.services
    services.ai = replace(services.ai, default_model="openai:gpt-default")
    await ask(context, prompt="Hi")
    assert [sent["model"] for _, sent in server.calls] == ["claude-x", "gpt-default"]


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"prompt": "a", "messages": [{"role": "user", "content": "b"}]},
        {"messages": [{"role": "assistant", "content": "b"}]},
        {"messages": [{"role": "robot", "content": "b"}]},
        {"prompt": "a", "temperature": 3},
        {"prompt": "a", "output": {"type": "nonsense"}},
        {"prompt": "a", "output": {"$ref": "file:///etc/passwd"}},
        {"prompt": "a", "output": {"$ref": "http://127.0.0.1:1/schema"}},
        {"prompt": "a", "unknown": 1},
    ],
)
def test_wrong_parameters(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AiParams.model_validate(wrong)


async def test_answers_do_not_mix(context: ActionContext, server: AiServer) -> None:
    server.delay = 0.05
    names = [f"m{number}" for number in range(8)]
    results = await asyncio.gather(
        *(ask(context, model=f"openai:{name}", prompt="Hi") for name in names)
    )
    assert [result.model for result in results] == names
