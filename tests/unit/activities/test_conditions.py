"""Verdicts and choices, which need nothing but their arguments."""

from collections.abc import Callable
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from activities.services import Services

from .conftest import Runner

NOW = {"run": {"now": "2026-11-21T10:00:00+00:00"}}


@pytest.fixture
def runner(make_runner: Callable[[Services], Runner]) -> Runner:
    return make_runner(Services())


@pytest.mark.parametrize(
    ("expression", "variables", "verdict"),
    [
        ("input.budget >= 2000", {"input": {"budget": 2000}}, True),
        ("input.budget >= 2000", {"input": {"budget": 1999.5}}, False),
        ("steps.a.output == null", {"steps": {"a": {"output": None}}}, True),
        ("run.now > timestamp('2026-01-01T00:00:00Z')", NOW, True),
    ],
)
async def test_verdicts(
    runner: Runner, expression: str, variables: dict[str, Any], verdict: bool
) -> None:
    assert await runner.run("verdict", expression, variables) is verdict


@pytest.mark.parametrize(
    ("expression", "variables"),
    [
        ("input.budget", {"input": {"budget": 3}}),
        ("input.budget >= 1", {"input": {}}),
        ("input.name", {"input": {"name": "true"}}),
        ("1 +", {}),
        ("unknown", {}),
        ("1 / 0 > 0", {}),
    ],
)
async def test_a_verdict_that_cannot_be_taken_is_a_permanent_error(
    runner: Runner, expression: str, variables: dict[str, Any]
) -> None:
    with pytest.raises(ApplicationError) as caught:
        await runner.run("verdict", expression, variables)
    assert caught.value.type == "EXPRESSION_ERROR"
    assert caught.value.non_retryable


@pytest.mark.parametrize(
    ("value", "index"),
    [("b", 1), ("a", 0), ("z", -1), (1, 2), (1.0, 2), (True, 4), (None, 5), ({"k": [1]}, 6)],
)
async def test_choices_compare_as_cel_does(runner: Runner, value: Any, index: int) -> None:
    cases = [
        {"is": "a"},
        {"is": "b"},
        {"is": 1},
        {"is": "1"},
        {"is": True},
        {"is": None},
        {"is": {"k": [1.0]}},
    ]
    assert await runner.run("choose", "input.v", cases, {"input": {"v": value}}) == index


async def test_choices_by_expression_stop_at_the_match(runner: Runner) -> None:
    cases = [{"if": "input.n > 10"}, {"if": "input.n > 5"}, {"if": "nonsense("}]
    assert await runner.run("choose", None, cases, {"input": {"n": 7}}) == 1
    with pytest.raises(ApplicationError) as caught:
        await runner.run("choose", None, cases, {"input": {"n": 1}})
    assert caught.value.type == "EXPRESSION_ERROR"
    with pytest.raises(ApplicationError):
        await runner.run("choose", None, [{"if": "1"}], {})


async def test_checks_need_a_database_and_a_name(runner: Runner, step: dict[str, Any]) -> None:
    for name in ("reply_received", "no_such_check"):
        with pytest.raises(ApplicationError) as caught:
            await runner.run("check", name, {}, step)
        assert caught.value.type == "INVALID_INPUT"
        assert caught.value.non_retryable
