"""Every step kind with every way to end; the interpreter's tests run them, replay keeps them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from temporalio.client import WorkflowHandle

Act = Callable[[WorkflowHandle[Any, Any]], Awaitable[None]]


@dataclass(frozen=True)
class Scenario:
    """One run: its steps (YAML), what is done to it meanwhile, and how it must end."""

    name: str
    steps: str
    status: str = "completed"
    output: Any = None
    code: str | None = None
    act: Act | None = None
    steps_end: dict[str, str] = field(default_factory=dict)
    run_output: str = ""
    history_limit: int | None = None
    # The time-skipping server never answers for an activity that ends after its cancel request. And
    # while a cancel is on its way to a child run no task holds the time: the child's timers run out.
    real_time: bool = False


async def cancel(handle: WorkflowHandle[Any, Any]) -> None:
    """Cancel through Temporal."""
    await handle.cancel()


async def go(handle: WorkflowHandle[Any, Any]) -> None:
    """Signal what wait steps wait for."""
    await handle.signal("go", {"by": "ada"})


HOLD = "{id: hold, type: probe, with: {hold: true}}"
SLOW = "{id: slow, type: probe, timeout: 1s, retry: {attempts: 1}, with: {hold: true}}"
BOOM = "{id: boom, type: probe, retry: {attempts: 1}, with: {failures: 9}}"
SECOND_FAILS = (
    "{id: boom, type: probe, retry: {attempts: 1}, with: {failures: '{{ item == 2 ? 9 : 0 }}'}}"
)
SLEEP = "{id: sleep, type: delay, for: 3d}"
LOOP = "{{id: each, type: for_each, items: '{{{{ [1, 2, 3] }}}}', concurrency: 2, do: [{0}]}}"
PARALLEL = (
    "{{id: both, type: parallel, branches: [{{name: a, do: [{0}]}}, "
    "{{name: b, do: [{{id: other, type: delay, for: 1h}}, {{id: last, type: probe, with: {{value: b}}}}]}}]}}"
)


def _many(count: int) -> str:
    return ", ".join(f"{{id: p{n}, type: probe, with: {{value: {n}}}}}" for n in range(count))


SCENARIOS = [
    # actions
    Scenario(
        "action-success",
        "{id: a, type: probe, with: {value: 1}}",
        run_output="steps.a.output.value",
        output=1,
    ),
    Scenario("action-failure", BOOM, "failed", code="STEP_FAILED", steps_end={"boom": "failed"}),
    Scenario(
        "action-permanent",
        "{id: a, type: probe, with: {failures: 9, code: HTTP_ERROR, retryable: false}}",
        "failed",
        code="HTTP_ERROR",
    ),
    Scenario(
        "action-retried",
        "{id: a, type: probe, retry: {initial: 100ms}, with: {failures: 2, value: 7}}",
        run_output="steps.a.output.value",
        output=7,
    ),
    Scenario("action-cancel", HOLD, "cancelled", act=cancel, steps_end={"hold": "cancelled"}),
    Scenario("action-timeout", SLOW, "failed", code="STEP_TIMEOUT", steps_end={"slow": "failed"}),
    Scenario(
        "action-continue",
        "{id: boom, type: probe, on_error: continue, retry: {attempts: 1}, with: {failures: 9}}, {id: b, type: probe, with: {value: '{{ steps.boom.error.code }}'}}",
        run_output="steps.b.output.value",
        output="STEP_FAILED",
    ),
    Scenario(
        "action-can", _many(12), history_limit=30, run_output="steps.p11.output.value", output=11
    ),
    Scenario(
        "action-large",
        "{id: a, type: probe, with: {size: 300000}}",
        "failed",
        code="LIMIT_EXCEEDED",
    ),
    Scenario(
        "guard-skip",
        "{id: a, type: probe, if: 'input.n > 5'}, {id: b, type: probe, with: {value: '{{ steps.a.status }}'}}",
        run_output="steps.b.output.value",
        output="skipped",
        steps_end={"a": "skipped"},
    ),
    Scenario(
        "guard-failure",
        "{id: a, type: probe, if: 'input.nope > 5'}",
        "failed",
        code="EXPRESSION_ERROR",
    ),
    Scenario(
        "expression-failure",
        "{id: a, type: probe, with: {value: '{{ 1 / (input.n - 3) }}'}}",
        "failed",
        code="EXPRESSION_ERROR",
    ),
    # condition
    Scenario(
        "condition-success",
        "{id: c, type: condition, if: input.n == 3, then: [{id: t, type: probe, with: {value: yes}}], else: [{id: e, type: probe}]}",
        run_output="default(steps.t.output.value, null)",
        output="yes",
        steps_end={"c": "completed", "t": "completed"},
    ),
    Scenario(
        "condition-else",
        "{id: c, type: condition, if: input.n == 4, then: [{id: t, type: probe}], else: [{id: e, type: probe, with: {value: no}}]}",
        run_output="default(steps.e.output.value, null)",
        output="no",
    ),
    Scenario(
        "condition-failure",
        "{id: c, type: condition, if: 'input.n / (input.n - 3) > 0', then: [{id: t, type: probe}]}",
        "failed",
        code="EXPRESSION_ERROR",
    ),
    Scenario(
        "condition-cancel",
        f"{{id: c, type: condition, if: 'true', then: [{SLEEP}]}}",
        "cancelled",
        act=cancel,
        steps_end={"c": "cancelled", "sleep": "cancelled"},
    ),
    Scenario(
        "condition-timeout",
        f"{{id: c, type: condition, if: 'true', then: [{SLOW}]}}",
        "failed",
        code="STEP_TIMEOUT",
        steps_end={"c": "failed", "slow": "failed"},
    ),
    Scenario(
        "condition-can",
        f"{{id: c, type: condition, if: 'true', then: [{_many(10)}]}}",
        history_limit=30,
        steps_end={"c": "completed", "p9": "completed"},
    ),
    Scenario(
        "condition-burst",
        ", ".join(f"{{id: c{n}, type: condition, if: input.n == {n}}}" for n in range(60)),
        run_output="steps.c3.output",
        output=True,
    ),
    # switch
    Scenario(
        "switch-success",
        "{id: s, type: switch, on: input.n, cases: [{is: 2, do: [{id: two, type: probe}]}, {if: input.n > 2, do: [{id: more, type: probe, with: {value: more}}]}]}",
        run_output="default(steps.s.output.value, null)",
        output="more",
    ),
    Scenario(
        "switch-default",
        "{id: s, type: switch, on: input.n, cases: [{is: 2, do: [{id: two, type: probe}]}], default: [{id: d, type: probe, with: {value: d}}]}",
        run_output="steps.s.output.value",
        output="d",
    ),
    Scenario(
        "switch-failure",
        "{id: s, type: switch, on: input.nope, cases: [{is: 2, do: [{id: two, type: probe}]}]}",
        "failed",
        code="EXPRESSION_ERROR",
    ),
    Scenario(
        "switch-cancel",
        f"{{id: s, type: switch, on: input.n, cases: [{{is: 3, do: [{SLEEP}]}}]}}",
        "cancelled",
        act=cancel,
    ),
    Scenario(
        "switch-timeout",
        f"{{id: s, type: switch, on: input.n, cases: [{{is: 3, do: [{SLOW}]}}]}}",
        "failed",
        code="STEP_TIMEOUT",
    ),
    Scenario(
        "switch-can",
        f"{{id: s, type: switch, on: input.n, cases: [{{is: 3, do: [{_many(10)}]}}]}}",
        history_limit=30,
        steps_end={"p9": "completed"},
    ),
    # parallel
    Scenario(
        "parallel-success",
        PARALLEL.format("{id: one, type: probe, with: {value: a}}"),
        run_output="[steps.both.output.a.value, steps.both.output.b.value]",
        output=["a", "b"],
    ),
    Scenario(
        "parallel-failure",
        PARALLEL.format(BOOM),
        "failed",
        code="STEP_FAILED",
        steps_end={"boom": "failed", "other": "cancelled", "both": "failed"},
    ),
    Scenario(
        "parallel-cancel",
        PARALLEL.format(SLEEP),
        "cancelled",
        act=cancel,
        steps_end={"other": "cancelled", "sleep": "cancelled", "both": "cancelled"},
    ),
    Scenario("parallel-timeout", PARALLEL.format(SLOW), "failed", code="STEP_TIMEOUT"),
    Scenario(
        "parallel-can",
        PARALLEL.format(_many(10)),
        history_limit=30,
        steps_end={"last": "completed", "p9": "completed"},
    ),
    Scenario(
        "parallel-stop",
        PARALLEL.format("{id: end, type: stop, output: done}"),
        output="done",
        steps_end={"other": "cancelled", "end": "completed"},
    ),
    # for_each
    Scenario(
        "for-each-success",
        LOOP.format("{id: p, type: probe, with: {value: '{{ item * 10 + index }}'}}"),
        run_output="steps.each.output.map(o, o.value)",
        output=[10, 21, 32],
        steps_end={"each[2].p": "completed"},
    ),
    Scenario(
        "for-each-empty",
        "{id: each, type: for_each, items: [], do: [{id: p, type: probe}]}",
        run_output="steps.each.output",
        output=[],
    ),
    Scenario(
        "for-each-failure", LOOP.format(SECOND_FAILS), "failed", code="STEP_FAILED", real_time=True
    ),
    Scenario(
        "for-each-no-list",
        "{id: each, type: for_each, items: '{{ input.n }}', do: [{id: p, type: probe}]}",
        "failed",
        code="EXPRESSION_ERROR",
    ),
    Scenario(
        "for-each-cancel",
        LOOP.format(SLEEP),
        "cancelled",
        act=cancel,
        steps_end={"each[0].sleep": "cancelled"},
    ),
    Scenario("for-each-timeout", LOOP.format(SLOW), "failed", code="STEP_TIMEOUT", real_time=True),
    Scenario(
        "for-each-can",
        LOOP.format(_many(8)),
        history_limit=30,
        run_output="size(steps.each.output)",
        output=3,
        steps_end={"each[2].p7": "completed"},
    ),
    # delay
    Scenario(
        "delay-success",
        "{id: d, type: delay, for: 3d}, {id: a, type: probe}",
        steps_end={"d": "completed"},
    ),
    Scenario(
        "delay-until",
        "{id: d, type: delay, until: run.started_at + days(2)}",
        steps_end={"d": "completed"},
    ),
    Scenario(
        "delay-past",
        "{id: d, type: delay, until: run.started_at - days(2)}",
        steps_end={"d": "completed"},
    ),
    Scenario(
        "delay-failure",
        "{id: d, type: delay, until: 'timestamp(input.text)'}",
        "failed",
        code="EXPRESSION_ERROR",
    ),
    Scenario("delay-cancel", SLEEP, "cancelled", act=cancel, steps_end={"sleep": "cancelled"}),
    Scenario(
        "delay-can",
        f"{{id: both, type: parallel, branches: [{{name: a, do: [{SLEEP}]}}, {{name: b, do: [{_many(10)}]}}]}}",
        history_limit=30,
        steps_end={"sleep": "completed", "p9": "completed"},
    ),
    # wait
    Scenario(
        "wait-success",
        "{id: w, type: wait, signal: go}",
        act=go,
        run_output="steps.w.output.by",
        output="ada",
    ),
    Scenario(
        "wait-timeout",
        "{id: w, type: wait, signal: go, timeout: 2d}",
        "failed",
        code="STEP_TIMEOUT",
    ),
    Scenario(
        "wait-timeout-continue",
        "{id: w, type: wait, signal: go, timeout: 2d, on_timeout: continue}",
        run_output="steps.w.output == null",
        output=True,
    ),
    Scenario(
        "wait-cancel",
        "{id: w, type: wait, signal: go}",
        "cancelled",
        act=cancel,
        steps_end={"w": "cancelled"},
    ),
    Scenario(
        "wait-can",
        f"{_many(12)}, {{id: w, type: wait, signal: go}}",
        act=go,
        history_limit=30,
        run_output="steps.w.output.by",
        output="ada",
    ),
    # set, fail, stop
    Scenario(
        "set-success",
        "{id: s, type: set, vars: {x: '{{ input.n }}'}}, {id: t, type: set, vars: {y: '{{ vars.x + 1 }}'}}",
        run_output="vars.y",
        output=4,
    ),
    Scenario(
        "set-failure",
        "{id: s, type: set, vars: {x: '{{ input.nope }}'}}",
        "failed",
        code="EXPRESSION_ERROR",
    ),
    Scenario(
        "set-can",
        f"{{id: s, type: set, vars: {{x: 5}}}}, {_many(12)}",
        history_limit=30,
        run_output="vars.x",
        output=5,
    ),
    Scenario(
        "fail-failure",
        "{id: f, type: fail, code: NO_STOCK, message: 'n is {{ input.n }}'}",
        "failed",
        code="NO_STOCK",
    ),
    Scenario(
        "stop-success",
        "{id: s, type: stop, output: '{{ input.n }}'}, {id: never, type: probe}",
        output=3,
        steps_end={"s": "completed"},
    ),
    Scenario(
        "dag-success",
        "{id: a, type: probe, depends_on: []}, {id: b, type: delay, for: 1h, depends_on: []}, {id: c, type: probe, depends_on: [a, b], with: {value: c}}",
        run_output="steps.c.output.value",
        output="c",
    ),
    Scenario(
        "dag-failure",
        "{id: b, type: delay, for: 1h, depends_on: []}, {id: boom, type: probe, depends_on: [], retry: {attempts: 1}, with: {failures: 9}}",
        "failed",
        code="STEP_FAILED",
        steps_end={"b": "cancelled"},
    ),
]
INPUT = {"n": 3, "text": "not a time", "many": list(range(201))}


def definition_text(scenario: Scenario) -> str:
    """Give the scenario's definition as YAML."""
    lines = [f"name: {scenario.name}", f"steps: [{scenario.steps}]"]
    if scenario.run_output:
        lines.append(f'output: "{{{{ {scenario.run_output} }}}}"')
    return "\n".join(lines)
