"""Straight stretches of inline steps, with every way to end."""

from tests.kit import probes
from tests.kit.acts import Handle, both, decides, rewinds, signals, step_is, until
from tests.kit.running import until as eventually
from tests.kit.scenarios import Act, Scenario, cancel

_ONCE = "retry: {attempts: 1}"
_WRONG = "'{{ 1 / (input.n - 3) }}'"
_INDEX = "'{{ index }}'"


def _inline(name: str, value: str = "1", more: str = "") -> str:
    return f"{{id: {name}, type: probe, execution: inline, with: {{value: {value}}}{more}}}"


def _after(name: str, before: str, more: str = "") -> str:
    return _inline(name, f"'{{{{ steps.{before}.output.value + 1 }}}}'", more)


def _fails(name: str, more: str, failures: int = 9) -> str:
    return (
        f"{{id: {name}, type: probe, execution: inline, with: {{failures: {failures}, value: 5}}, "
        f"{more}}}"
    )


def _holds(name: str, more: str = "") -> str:
    return (
        f"{{id: {name}, type: probe, execution: inline, timeout: 4s, {_ONCE}, "
        f"with: {{hold: true}}{more}}}"
    )


def _while_in(path: str, act: Act) -> Act:
    """Do something once the probe at a path has been called."""

    async def acting(handle: Handle) -> None:
        run_id = handle.id.rsplit("/", 1)[-1]

        async def called() -> bool:
            return (run_id, path) in probes.calls

        await eventually(called)
        await act(handle)

    return acting


async def _pause(handle: Handle) -> None:
    await handle.signal("pause")


async def _resume(handle: Handle) -> None:
    state = await until(handle, step_is("b", "failed"))
    assert state.status == "paused"
    assert "c" not in state.steps
    await handle.signal("resume")


_FALLBACK = f"{_ONCE}, on_error: [{_inline('f', '7')}, {_inline('g', '8')}]"

STRETCHES = [
    Scenario(
        "stretch-success",
        f"{_inline('a')}, {_after('b', 'a')}, {_after('c', 'b')}",
        run_output="steps.c.output.value",
        output=3,
    ),
    Scenario(
        "stretch-output",
        f"{_inline('a', more=', output: {n: 41}')}, "
        + _inline("b", "'{{ steps.a.output.n + 1 }}'")
        + ", "
        + _inline("c", "'{{ steps.b.status }}'"),
        run_output="[steps.b.output.value, steps.c.output.value]",
        output=[42, "completed"],
    ),
    Scenario(
        "stretch-guarded",
        f"{_inline('a')}, {_after('b', 'a')}, {_after('c', 'b', ', if: input.n == 4')}, {_inline('d')}, "
        + _inline("e", "'{{ steps.c.status }}'"),
        run_output="steps.e.output.value",
        output="skipped",
        steps_end={"c": "skipped"},
    ),
    Scenario(
        "stretch-failure",
        f"{_inline('a')}, {_fails('b', _ONCE)}, {_inline('c')}",
        "failed",
        code="STEP_FAILED",
        steps_end={"a": "completed", "b": "failed"},
    ),
    Scenario(
        "stretch-retried",
        f"{_inline('a')}, {_fails('b', 'retry: {initial: 100ms}', 2)}, {_after('c', 'b')}, {_after('d', 'c')}",
        run_output="steps.d.output.value",
        output=7,
    ),
    Scenario(
        "stretch-continue",
        f"{_inline('a')}, {_fails('b', f'{_ONCE}, on_error: continue')}, "
        + _inline("c", "'{{ steps.b.error.code }}'")
        + f", {_inline('d')}",
        run_output="steps.c.output.value",
        output="STEP_FAILED",
        steps_end={"b": "failed", "d": "completed"},
    ),
    Scenario(
        "stretch-fallback",
        f"{_inline('a')}, {_fails('b', _FALLBACK)}, {_after('c', 'b')}",
        run_output="steps.c.output.value",
        output=9,
    ),
    Scenario(
        "stretch-held",
        f"{_inline('a')}, {_fails('b', f'{_ONCE}, on_error: pause')}, {_after('c', 'b')}, {_inline('d')}",
        act=decides("retry", "b", input={"value": 5}),
        run_output="steps.c.output.value",
        output=6,
    ),
    Scenario(
        "stretch-expression",
        f"{_inline('a')}, {_inline('b', _WRONG)}, {_inline('c')}",
        "failed",
        code="EXPRESSION_ERROR",
        steps_end={"a": "completed", "b": "failed"},
    ),
    Scenario(
        "stretch-large",
        ", ".join(
            f"{{id: p{n}, type: probe, execution: inline, with: {{size: 200000}}}}"
            for n in range(6)
        ),
        steps_end={"p5": "completed"},
    ),
    Scenario(
        "stretch-timeout",
        f"{_inline('a')}, {_holds('b').replace('4s', '1s')}, {_inline('c')}",
        "failed",
        code="STEP_TIMEOUT",
        steps_end={"a": "completed", "b": "failed"},
        real_time=True,
    ),
    Scenario(
        "stretch-cancel",
        f"{_inline('a')}, {_holds('b')}, {_inline('c')}",
        "cancelled",
        act=_while_in("b", cancel),
        steps_end={"a": "completed", "b": "cancelled"},
        real_time=True,
    ),
    Scenario(
        "stretch-cancel-first",
        f"{_holds('a')}, {_inline('b')}",
        "cancelled",
        act=_while_in("a", cancel),
        steps_end={"a": "cancelled"},
        real_time=True,
    ),
    Scenario(
        "stretch-pause",
        f"{_inline('a')}, {_holds('b', ', on_error: continue')}, {_after('c', 'a')}, {_inline('d')}",
        act=both(_while_in("b", _pause), _resume),
        run_output="steps.c.output.value",
        output=2,
        steps_end={"b": "failed"},
        real_time=True,
    ),
    Scenario(
        "stretch-can",
        ", ".join(
            f"{_inline(f'p{n}', str(n))}, {_inline(f'q{n}', str(n))}, {{id: d{n}, type: delay, for: 1h}}"
            for n in range(8)
        ),
        history_limit=30,
        steps_end={"p0": "completed", "q7": "completed"},
    ),
    Scenario(
        "stretch-loop",
        f"{{id: rep, type: repeat, max: 3, until: 'index == 2', do: [{_inline('a', _INDEX)}, "
        f"{_after('b', 'a')}, {_after('c', 'b')}]}}",
        run_output="steps.rep.output.value",
        output=4,
    ),
    Scenario(
        "stretch-rewind",
        f"{_inline('a')}, {_after('b', 'a')}, {_after('c', 'b')}, {{id: w, type: wait, signal: go}}",
        act=rewinds("b", step_is("w", "waiting"), signals()),
        steps_end={"c": "completed", "w": "completed"},
    ),
]
