"""One attempt as the worker runs it: validation, errors, delays, caps and heartbeats."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import structlog
from pydantic import BaseModel
from temporalio.exceptions import ApplicationError

from activities.context import ActionContext
from activities.errors import ActionError
from activities.registry import Action, Registry, action, load
from activities.services import Services
from schemas.errors import NotFoundError, SojournError, UnavailableError
from schemas.run import MAX_OUTPUT_BYTES

from .conftest import Runner


class Params(BaseModel):
    """What the test's action takes."""

    do: str = "answer"
    size: int = 1


class Result(BaseModel):
    """What it gives."""

    text: str
    attempt: int = 0


BEGUN: dict[str, asyncio.Event] = {}
ERRORS: dict[str, Callable[[], SojournError]] = {
    "fail": lambda: ActionError("no", code="HTTP_ERROR", details={"status": 500}, hint="wait"),
    "fail for good": lambda: ActionError("never", code="HTTP_ERROR", retryable=False),
    "later": lambda: ActionError("later", code="HTTP_ERROR", retry_after=77),
    "not found": lambda: NotFoundError("no such lead"),
    "no database": lambda: UnavailableError("away", code="DATABASE_UNAVAILABLE", retry_after=5),
}


@action("probe", timeout=timedelta(seconds=7))
async def probe(params: Params, context: ActionContext) -> Result:
    """Do what it is told.

    More words.
    """
    if params.do in ERRORS:
        raise ERRORS[params.do]()
    match params.do:
        case "answer":
            return Result(text="x" * params.size, attempt=context.attempt)
        case "bug":
            return Result(text=str(1 // 0))
        case "sleep" | "sleep and fail":
            BEGUN.setdefault(params.do, asyncio.Event()).set()
            await asyncio.sleep(0.5)
            if params.do == "sleep":
                return Result(text="slept")
            raise ActionError("too late")
        case "log":
            return Result(text=str(structlog.contextvars.get_contextvars()))
        case _:
            return Result(text=str(context.budget))


@action("stoppable", cancellable=True)
async def stoppable(params: Params, context: ActionContext) -> Result:
    """Wait for ever."""
    BEGUN.setdefault(params.do, asyncio.Event()).set()
    await asyncio.Event().wait()
    return Result(text="never")


@pytest.fixture(scope="module")
def runner() -> Runner:
    known = [vars(function)["__sojourn_action__"] for function in (probe, stoppable)]
    return Runner(Registry(known), Services())


async def answer(runner: Runner, step: dict[str, Any], **info: Any) -> dict[str, Any]:
    """Give the result of a probe, past the envelope that names the attempt."""
    do = {key: info.pop(key) for key in ("do", "size") if key in info}
    return (await runner.run("probe", do, step, **info))["result"]


async def failure(runner: Runner, do: str, step: dict[str, Any], **info: Any) -> ApplicationError:
    with pytest.raises(ApplicationError) as caught:
        await runner.run("probe", {"do": do}, step, **info)
    return caught.value


async def test_a_result_is_json_values(runner: Runner, step: dict[str, Any]) -> None:
    assert await runner.run("probe", {}, step, attempt=3) == {
        "attempt": 3,
        "result": {"text": "x", "attempt": 3},
    }


@pytest.mark.parametrize("params", [{"size": "many"}, {"do": 1}, [], None, "text", 3])
async def test_wrong_parameters_are_permanent(
    runner: Runner, step: dict[str, Any], params: Any
) -> None:
    with pytest.raises(ApplicationError) as caught:
        await runner.run("probe", params, step)
    error = caught.value
    assert error.type == "INVALID_INPUT"
    assert error.non_retryable
    assert error.details[0]["problems"][0]["path"].startswith("with")
    assert "many" not in error.message


@pytest.mark.parametrize("context", [None, {}, {"workspace": "default"}, "text"])
async def test_a_wrong_context_is_permanent(runner: Runner, context: Any) -> None:
    with pytest.raises(ApplicationError) as caught:
        await runner.run("probe", {}, context)
    assert caught.value.type == "INVALID_INPUT"
    assert caught.value.non_retryable


async def test_an_error_carries_its_code_details_and_delay(
    runner: Runner, step: dict[str, Any]
) -> None:
    step["retry"] = {"initial": "10s", "factor": 2, "max": "1m"}
    for attempt, low, high in ((1, 5, 10), (2, 10, 20), (5, 30, 60)):
        error = await failure(runner, "fail", step, attempt=attempt)
        assert (error.type, error.message, error.non_retryable) == ("HTTP_ERROR", "no", False)
        assert error.details == ({"status": 500, "hint": "wait", "attempt": attempt},)
        assert error.next_retry_delay is not None
        assert low <= error.next_retry_delay.total_seconds() <= high


async def test_a_permanent_error_has_no_delay(runner: Runner, step: dict[str, Any]) -> None:
    error = await failure(runner, "fail for good", step)
    assert error.non_retryable
    assert error.next_retry_delay is None


async def test_retry_after_is_the_delay(runner: Runner, step: dict[str, Any]) -> None:
    error = await failure(runner, "later", step)
    assert error.next_retry_delay == timedelta(seconds=77)


@pytest.mark.parametrize(
    ("policy", "do", "retryable"),
    [
        ({}, "fail", True),
        ({"except": ["HTTP_ERROR"]}, "fail", False),
        ({"only": ["STEP_TIMEOUT"]}, "fail", False),
        ({"only": ["HTTP_ERROR"]}, "fail", True),
        ({"only": ["HTTP_ERROR"]}, "fail for good", False),
        ({"except": ["INTERNAL"]}, "bug", False),
    ],
)
async def test_only_and_except(
    runner: Runner, step: dict[str, Any], policy: dict[str, Any], do: str, retryable: bool
) -> None:
    step["retry"] = policy
    assert (await failure(runner, do, step)).non_retryable is not retryable


async def test_errors_of_the_other_layers(runner: Runner, step: dict[str, Any]) -> None:
    missing = await failure(runner, "not found", step)
    assert (missing.type, missing.non_retryable) == ("NOT_FOUND", True)
    away = await failure(runner, "no database", step)
    assert (away.type, away.non_retryable) == ("DATABASE_UNAVAILABLE", False)
    assert away.next_retry_delay is not None
    assert away.next_retry_delay >= timedelta(seconds=5)


async def test_a_bug_is_internal_and_retryable(runner: Runner, step: dict[str, Any]) -> None:
    error = await failure(runner, "bug", step)
    assert (error.type, error.non_retryable) == ("INTERNAL", False)
    assert "ZeroDivisionError" in error.message


async def test_a_result_too_large_to_keep(runner: Runner, step: dict[str, Any]) -> None:
    fits = MAX_OUTPUT_BYTES - len('{"text":"","attempt":1}')
    assert len((await answer(runner, step, size=fits))["text"]) == fits
    with pytest.raises(ApplicationError) as caught:
        await runner.run("probe", {"size": fits + 1}, step)
    assert caught.value.type == "LIMIT_EXCEEDED"
    assert caught.value.non_retryable
    assert "262,145" in caught.value.message


async def test_heartbeats_go_on_in_the_background(runner: Runner, step: dict[str, Any]) -> None:
    beats: list[tuple[Any, ...]] = []
    runner.environment.on_heartbeat = lambda *details: beats.append(details)
    await runner.run("probe", {"do": "sleep"}, step)
    assert beats == []
    await runner.run("probe", {"do": "sleep"}, step, heartbeat_timeout=timedelta(seconds=0.3))
    assert 3 <= len(beats) <= 6


@pytest.mark.parametrize("do", ["sleep", "sleep and fail"])
async def test_a_cancel_waits_for_an_action_that_must_end(
    runner: Runner, step: dict[str, Any], do: str
) -> None:
    BEGUN.clear()
    task = asyncio.create_task(runner.run("probe", {"do": do}, step))
    await _begun(do)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    if do == "sleep":
        assert (await task)["result"]["text"] == "slept"
    else:
        with pytest.raises(ApplicationError, match="too late"):
            await task


async def test_a_cancel_cuts_off_a_cancellable_action(runner: Runner, step: dict[str, Any]) -> None:
    BEGUN.clear()
    task = asyncio.create_task(runner.run("stoppable", {"do": "wait for ever"}, step))
    await _begun("wait for ever")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def _begun(do: str) -> None:
    async with asyncio.timeout(180):
        await BEGUN.setdefault(do, asyncio.Event()).wait()


async def test_the_budget_leaves_a_margin(runner: Runner, step: dict[str, Any]) -> None:
    assert (await answer(runner, step, do="budget", seconds=2))["text"] == "1.8"
    assert (await answer(runner, step, do="budget", seconds=60))["text"] == "59.0"


async def test_logs_carry_the_run(runner: Runner, step: dict[str, Any]) -> None:
    text = (await answer(runner, {**step, "correlation_id": "c-1"}, do="log"))["text"]
    assert "'correlation_id': 'c-1'" in text
    assert step["run_id"] in text
    assert structlog.contextvars.get_contextvars() == {}


# -- the registry ----------------------------------------------------------------------------


def test_the_catalogue(registry: Registry) -> None:
    specs = registry.specs()
    assert list(specs) == [
        "ai",
        "code",
        "email",
        "emit",
        "function",
        "http",
        "lead",
        "mcp",
        "mcp_tools",
        "webhook",
    ]
    assert specs["ai"].timeout == timedelta(seconds=10)
    for spec in specs.values():
        assert spec.summary.endswith(".")
        assert spec.params["additionalProperties"] is False
        described = spec.params["properties"]
        assert described
    assert "from" in specs["email"].params["properties"]
    assert "json" in specs["http"].params["properties"]


def test_the_worker_gets_every_activity(
    make_runner: Callable[[Services], Runner],
) -> None:
    names = set(make_runner(Services()).functions)
    assert names == {
        "ai",
        "code",
        "email",
        "emit",
        "function",
        "http",
        "lead",
        "mcp",
        "mcp_tools",
        "webhook",
        "agent_turn",
        "bulk_batch",
        "verdict",
        "choose",
        "check",
        "assign",
        "opening",
        "record",
        "request_cancel",
        "open_run",
        "open_batch",
        "stretch",
        "subscribe",
        "order_scheduled",
        "prune",
    }


def test_loading_is_cheap() -> None:
    code = (
        "import sys; from activities.registry import load; load().specs();"
        "print([m for m in ('pydantic_ai', 'openai', 'anthropic') if m in sys.modules])"
    )
    shown = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == "[]"


def declared(name: str) -> Action:
    @action(name)
    async def other(params: Params, context: ActionContext) -> Result:
        """Be another one."""
        return Result(text="")

    return vars(other)["__sojourn_action__"]


@pytest.mark.parametrize("name", ["condition", "wait", "record", "verdict"])
def test_words_of_the_language_are_taken(name: str) -> None:
    with pytest.raises(ValueError, match="word of the language"):
        Registry([declared(name)])


def test_two_actions_may_not_share_a_name() -> None:
    with pytest.raises(ValueError, match="two actions"):
        Registry([declared("probe"), declared("probe")])


def test_an_action_must_have_its_shape() -> None:
    async def wrong(params: dict[str, Any], context: ActionContext) -> Result:
        """Take a dict."""
        return Result(text="")

    def plain(params: Params, context: ActionContext) -> Result:
        """Be synchronous."""
        return Result(text="")

    async def alone(params: Params) -> Result:
        """Take one argument."""
        return Result(text="")

    for function in (wrong, plain, alone):
        with pytest.raises(TypeError, match="async def"):
            action("probe")(function)


def test_plug_ins_come_through_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    class Point:
        name = "probe"
        value = "somewhere:probe"

        def __init__(self, loaded: object) -> None:
            self.loaded = loaded

        def load(self) -> object:
            return self.loaded

    from activities import registry

    monkeypatch.setattr(registry, "entry_points", lambda group: [Point(probe)])
    assert "probe" in load().specs()
    monkeypatch.setattr(registry, "entry_points", lambda group: [Point(lambda: None)])
    with pytest.raises(TypeError, match="holds no @action"):
        load()
