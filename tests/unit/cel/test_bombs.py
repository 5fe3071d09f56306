"""Every bomb is stopped by a budget, having built next to nothing."""

import resource
import tracemalloc

import pytest

from schemas import cel
from schemas.cel.budget import MAX_ENTRIES, MAX_RESULT, MAX_SOURCE, MAX_STEPS, MAX_STRING
from schemas.errors import ExpressionError
from tests.unit.cel.bombs import COMPILE_TIME, RUN_TIME, VARIABLES

MEBIBYTE = 2**20


@pytest.mark.parametrize("name", RUN_TIME)
def test_stopped_at_run_time(name: str) -> None:
    """The evaluation ends with a spent budget and has taken less than 64 MiB."""
    program = cel.compile(RUN_TIME[name])
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tracemalloc.start()
    try:
        with pytest.raises(cel.BudgetExceeded):
            program.evaluate(VARIABLES)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 * MEBIBYTE
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resident < 64 * 1024


@pytest.mark.parametrize("name", COMPILE_TIME)
def test_stopped_at_compile_time(name: str) -> None:
    """A source that is too long or too deep is not compiled, nor checked."""
    with pytest.raises(cel.BudgetExceeded):
        cel.compile(COMPILE_TIME[name])
    _, problems = cel.check(COMPILE_TIME[name], {})
    assert len(problems) == 1


@pytest.mark.parametrize(
    "source",
    [
        "many.map(x, x).size() > 0 || true",
        "true && (many.map(x, x).size() > 0 || false)",
        "[1].exists(y, many.all(x, x >= 0))",
        "[1].all(y, many.all(x, x >= 0) || true)",
        "default(many.map(x, x), 1)",
    ],
)
def test_a_spent_budget_is_never_absorbed(source: str) -> None:
    """Neither `||`, nor a macro, nor default() hides a spent budget."""
    with pytest.raises(cel.BudgetExceeded):
        cel.compile(source).evaluate(VARIABLES)


def test_limits_are_exact() -> None:
    """What just fits is built; one more is not."""
    fits = {"a": "x" * (MAX_STRING - 1), "xs": [0] * (MAX_ENTRIES - 1)}
    assert len(cel.compile("a + 'y'").evaluate(fits)) == MAX_STRING
    assert len(cel.compile("xs + [1]").evaluate(fits)) == MAX_ENTRIES
    for source in ("a + 'yy'", "a + 'é'", "xs + [1, 2]"):
        with pytest.raises(cel.BudgetExceeded):
            cel.compile(source).evaluate(fits)
    assert cel.compile("a").evaluate({"a": "x" * (MAX_RESULT - 3)})
    with pytest.raises(cel.BudgetExceeded):
        cel.compile("a").evaluate({"a": "x" * MAX_RESULT})
    assert cel.compile("1" + " " * (MAX_SOURCE - 1)).evaluate({}) == 1
    with pytest.raises(cel.BudgetExceeded):
        cel.compile("1" + " " * MAX_SOURCE)


def test_steps_run_out_at_the_limit() -> None:
    """A loop pays its body for each item: the last affordable item is known beforehand."""
    program = cel.compile("xs.all(x, x == 0)")
    affordable = (MAX_STEPS - program.cost) // 5
    _, steps = program.evaluate_counted({"xs": [0] * affordable})
    assert MAX_STEPS - 5 < steps <= MAX_STEPS
    with pytest.raises(ExpressionError, match="more than 50000 steps"):
        program.evaluate({"xs": [0] * (affordable + 1)})


def test_a_pattern_is_paid_for_once_in_an_evaluation() -> None:
    """Its compilation is paid in full by each evaluation, and never twice by one."""
    once = cel.compile(r"'a'.matches('\\pL+')").evaluate_counted({})[1]
    assert cel.compile(r"'a'.matches('\\pL+')").evaluate_counted({})[1] == once > 1_000
    program = cel.compile(r"xs.all(x, x.matches('\\pL+'))")
    _, steps = program.evaluate_counted({"xs": ["a"] * 500})
    assert once < steps < once + 500 * 50
