import asyncio
import os
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from activities.context import ActionContext
from activities.errors import ActionError
from activities.function import FunctionParams, function
from activities.functions import Functions, expose
from activities.registry import load
from activities.services import Services
from schemas.errors import ErrorCode
from schemas.validation import find_problems
from tests.kit import opened

MODULE = "tests.kit.opened"


@pytest.fixture(scope="module")
def functions() -> Functions:
    return Functions.load([MODULE])


@pytest.fixture
async def scope(context: ActionContext, functions: Functions) -> AsyncIterator[ActionContext]:
    services = Services(functions=functions)
    yield replace(context, services=services)
    await services.aclose()


async def call(scope: ActionContext, name: str, **args: Any) -> Any:
    params = FunctionParams(function=f"{MODULE}:{name}", args=args)
    return (await function(params, scope)).result


async def test_arguments_and_result_are_typed(scope: ActionContext) -> None:
    lines = [{"name": "a", "price": 2.5, "count": 2}, {"name": "b", "price": 1}]
    result = await call(scope, "total", lines=lines, due="2026-02-01")
    assert result == {"net": 6.0, "due": "2026-02-01"}


@pytest.mark.parametrize(
    ("args", "path"),
    [
        ({"lines": [], "due": "soon"}, "with.args.due"),
        ({"lines": [{"name": "a", "price": -1}], "due": "2026-01-01"}, "with.args.lines[0].price"),
        ({"lines": []}, "with.args.due"),
        ({"lines": [], "due": "2026-01-01", "rebate": 1}, "with.args.rebate"),
    ],
)
async def test_arguments_that_do_not_fit_are_named(
    scope: ActionContext, args: dict[str, Any], path: str
) -> None:
    with pytest.raises(ActionError) as raised:
        await call(scope, "total", **args)
    assert raised.value.code == ErrorCode.INVALID_INPUT
    assert not raised.value.retryable
    assert [problem.path for problem in raised.value.problems] == [path]


async def test_plain_functions_run_in_threads(scope: ActionContext) -> None:
    beside = asyncio.create_task(call(scope, "slow", seconds=0.2))
    assert await asyncio.to_thread(opened.started.wait, 5)
    assert not beside.done()
    assert (await beside).startswith("function")


async def test_a_function_is_told_its_step(scope: ActionContext) -> None:
    assert await call(scope, "key", suffix="!") == f"{scope.step.key}!"


async def test_a_function_that_does_not_end_is_a_timeout(scope: ActionContext) -> None:
    short = replace(scope, timeout=timedelta(seconds=0.2))
    with pytest.raises(ActionError) as raised:
        await call(short, "never")
    assert raised.value.code == ErrorCode.STEP_TIMEOUT


@pytest.mark.parametrize(
    ("how", "code", "retryable"),
    [
        ("value", ErrorCode.STEP_FAILED, True),
        ("final", ErrorCode.CONFLICT, False),
        ("result", ErrorCode.STEP_FAILED, False),
    ],
)
async def test_what_a_function_raises(
    scope: ActionContext, how: str, code: ErrorCode, retryable: bool
) -> None:
    with pytest.raises(ActionError) as raised:
        await call(scope, "breaks", how=how)
    assert (raised.value.code, raised.value.retryable) == (code, retryable)


@pytest.mark.parametrize(
    "reference", [f"{MODULE}:hidden", f"{MODULE}:asyncio", "os:system", f"{MODULE}:Line", "x"]
)
async def test_nothing_else_is_open(scope: ActionContext, reference: str) -> None:
    with pytest.raises(ActionError) as raised:
        await function(FunctionParams(function=reference), scope)
    assert raised.value.code == ErrorCode.FORBIDDEN


async def test_a_module_may_be_of_one_workspace(scope: ActionContext) -> None:
    theirs = Functions.load([f"{MODULE}@acme", f"{MODULE}@other"])
    assert theirs.of("default") == {}
    assert f"{MODULE}:total" in theirs.of("acme")
    assert f"{MODULE}:total" in theirs.of("other")
    foreign = replace(scope, services=Services(functions=theirs))
    with pytest.raises(ActionError) as raised:
        await call(foreign, "key")
    assert raised.value.code == ErrorCode.FORBIDDEN


def test_bad_modules_are_refused_at_start() -> None:
    with pytest.raises(ImportError):
        Functions.load(["no.such.module"])
    with pytest.raises(TypeError, match="@expose"):
        Functions.load(["tests.kit.running"])
    with pytest.raises(ValueError, match="module@workspace"):
        Functions.load(["a b"])


def test_only_typed_parameters_can_be_exposed() -> None:
    with pytest.raises(TypeError, match="'b'"):

        @expose
        def untyped(a: int, b) -> None: ...

    with pytest.raises(TypeError, match="'rest'"):

        @expose
        def open_ended(*rest: int) -> None: ...


def test_schemas_come_from_the_signature(functions: Functions) -> None:
    found = functions.of("default")[f"{MODULE}:total"]
    assert found.summary == "Add up an order."
    assert found.parameters["required"] == ["lines", "due"]
    assert found.parameters["properties"]["currency"]["enum"] == ["EUR", "USD"]
    assert found.result["properties"]["due"]["format"] == "date"
    assert "step" not in functions.of("default")[f"{MODULE}:key"].parameters["properties"]


def problems(functions: Functions, reference: str, **args: Any) -> list[tuple[str, str | None]]:
    registry = load({"function": partial(functions.find_faults, "default")})
    step = {"id": "f", "type": "function", "with": {"function": reference, "args": args}}
    definition = {"name": "f", "input": {"type": "object"}, "steps": [step]}
    return [(one.path, one.hint) for one in find_problems(definition, registry)]


def test_references_are_checked_at_publish(functions: Functions) -> None:
    good = {"lines": "{{ input.lines }}", "due": "2026-01-01"}
    assert problems(functions, f"{MODULE}:total", **good) == []
    ((path, hint),) = problems(functions, f"{MODULE}:totl")
    assert path == "steps[0].with.function"
    assert hint == f"did you mean '{MODULE}:total'?"
    ((path, _),) = problems(functions, "{{ input.name }}")
    assert path == "steps[0].with.function"
    found = problems(functions, f"{MODULE}:total", line=[], due=3)
    assert {path for path, _ in found} == {
        "steps[0].with.args.line",
        "steps[0].with.args",
        "steps[0].with.args.due",
    }


def _children() -> list[bytes]:
    """The command lines of this process's children."""
    own = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [Path(f"/proc/{child}/cmdline").read_bytes() for child in own]


async def test_an_isolated_function_is_a_process_that_a_timeout_kills(scope: ActionContext) -> None:
    said, pid = await call(scope, "spins", seconds=0, say="hello")
    assert (said, pid != str(os.getpid())) == ("hello", True)
    with pytest.raises(ActionError) as raised:
        await call(scope, "spins", seconds=0, say="raise")
    assert (raised.value.code, raised.value.retryable) == ("CONFLICT", False)
    before = time.monotonic()
    with pytest.raises(ActionError) as late:
        await call(replace(scope, timeout=timedelta(seconds=3)), "spins", seconds=600)
    assert late.value.code == ErrorCode.STEP_TIMEOUT
    assert time.monotonic() - before < 20
    assert not any(b"_isolated" in command for command in _children())


async def test_functions_that_hang_take_no_places(scope: ActionContext) -> None:
    hurried = replace(scope, timeout=timedelta(seconds=0.05))
    calls = [call(hurried, "slow", seconds=3) for _ in range(40)]
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert {getattr(one, "code", one) for one in found} == {ErrorCode.STEP_TIMEOUT}
    assert "function" in await call(scope, "slow", seconds=0)
