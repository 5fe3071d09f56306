"""Every form of recovery: fallback, hold, compensation, rewind."""

from dataclasses import dataclass

from tests.kit.acts import (
    both,
    cancel_in_compensation,
    decides,
    held,
    rewinds,
    sets,
    signals,
    stands,
    step_is,
)
from tests.kit.approval_scenarios import many
from tests.kit.scenarios import BOOM, SLEEP, Scenario, cancel


@dataclass(frozen=True)
class Recovery(Scenario):
    """A scenario with more fields of the definition, in `head`."""

    head: str = ""


def _probe(name: str, value: str = "1", more: str = "") -> str:
    return f"{{id: {name}, type: probe, with: {{value: {value}}}{more}}}"


def _undone(name: str, more: str = "") -> str:
    undo = f"{{id: undo_{name}, type: probe, with: {{value: {name}}}}}"
    return f"{{id: {name}, type: probe, with: {{value: {name}}}, compensate: [{undo}]{more}}}"


def _held(more: str = "failures: 1") -> str:
    return f"{{id: boom, type: probe, on_error: pause, retry: {{attempts: 1}}, with: {{{more}}}}}"


WAIT = "{id: w, type: wait, signal: go}"
_BAD = "retry: {attempts: 1}, with: {failures: 9, code: HTTP_ERROR, retryable: false}"
_ROUTES = (
    "[{codes: [HTTP_ERROR], do: [{id: plan_b, type: probe, with: {value: '{{ error.code }}'}}]}, "
    "{do: continue}]"
)

RECOVERY = [
    # on_error
    Recovery(
        "fallback-success",
        f"{{id: boom, type: probe, {_BAD}, on_error: [{_probe('plan_b', 'b')}]}}, {_probe('next', '{{ steps.boom.output.value }}'.join(chr(39) * 2))}",
        run_output="steps.next.output.value",
        output="b",
        steps_end={"boom": "completed", "plan_b": "completed"},
    ),
    Recovery(
        "fallback-failure",
        f"{{id: a, type: probe, {_BAD}, on_error: [{BOOM}]}}",
        "failed",
        code="STEP_FAILED",
        steps_end={"a": "failed", "boom": "failed"},
    ),
    Recovery(
        "fallback-can",
        f"{{id: a, type: probe, {_BAD}, on_error: [{many(12)}]}}",
        history_limit=30,
        steps_end={"a": "completed", "p11": "completed"},
    ),
    Recovery(
        "fallback-cancel",
        f"{{id: a, type: probe, {_BAD}, on_error: [{SLEEP}]}}",
        "cancelled",
        act=both(stands(step_is("sleep", "waiting")), cancel),
        steps_end={"a": "cancelled", "sleep": "cancelled"},
    ),
    Recovery(
        "routes-code",
        f"{{id: a, type: probe, {_BAD}, on_error: {_ROUTES}}}",
        run_output="default(steps.a.output.value, null)",
        output="HTTP_ERROR",
    ),
    Recovery(
        "routes-any",
        f"{{id: a, type: probe, retry: {{attempts: 1}}, with: {{failures: 9}}, on_error: {_ROUTES}}}",
        run_output="steps.a.error.code",
        output="STEP_FAILED",
        steps_end={"a": "failed"},
    ),
    Recovery(
        "routes-none",
        f"{{id: a, type: probe, {_BAD}, on_error: [{{codes: [AI_UNAVAILABLE], do: continue}}]}}",
        "failed",
        code="HTTP_ERROR",
    ),
    Recovery(
        "routes-guard",
        "{id: a, type: probe, if: 'input.nope > 1', on_error: [{codes: [EXPRESSION_ERROR], do: continue}]}",
        steps_end={"a": "failed"},
    ),
    # on_error: pause
    Recovery(
        "held-retry",
        _held("value: 1, failures: 9"),
        act=decides("retry", input={"value": 7}, by="ada"),
        run_output="steps.boom.output.value",
        output=7,
    ),
    Recovery(
        "held-skip",
        _held("failures: 9"),
        act=decides("skip", output={"value": 5}),
        run_output="steps.boom.output.value",
        output=5,
        steps_end={"boom": "skipped"},
    ),
    Recovery(
        "held-abort",
        f"{_undone('a')}, {_held('failures: 9')}, {_probe('never')}",
        "failed",
        act=decides("abort"),
        code="STEP_FAILED",
        steps_end={"a": "compensated", "undo_a": "completed", "boom": "failed"},
    ),
    Recovery(
        "abort-continue",
        f"{_undone('a')}, {{id: c, type: condition, if: 'true', on_error: continue, "
        f"then: [{_held('failures: 9')}]}}, {_probe('never')}",
        "failed",
        act=decides("abort"),
        code="STEP_FAILED",
        steps_end={"a": "compensated", "boom": "failed", "c": "failed", "tell": "completed"},
        head="on_failure: [{id: tell, type: probe, with: {value: '{{ error.step }}'}}]",
    ),
    Recovery(
        "abort-fallback",
        f"{_undone('a')}, {{id: b, type: probe, {_BAD}, on_error: [{_held('failures: 9')}]}}, "
        f"{_probe('never')}",
        "failed",
        act=decides("abort"),
        code="STEP_FAILED",
        steps_end={"a": "compensated", "b": "failed", "boom": "failed"},
    ),
    Recovery(
        "abort-held-around",
        # With a fallback of its own, and a step around it that an operator could decide about.
        f"{{id: c, type: condition, if: 'true', on_error: pause, then: [{{id: d, type: condition, "
        f"if: 'true', on_error: [{_probe('plan_b')}], then: [{_held('failures: 9')}]}}]}}",
        "failed",
        act=decides("abort"),
        code="STEP_FAILED",
        steps_end={"boom": "failed", "d": "failed", "c": "failed"},
    ),
    Recovery(
        "abort-branch",
        f"{{id: race, type: parallel, join: any, on_branch_error: continue, on_error: continue, "
        f"branches: [{{name: a, do: [{_undone('a')}, {_held('failures: 9')}]}}, "
        f"{{name: b, do: [{WAIT}]}}]}}, {_probe('never')}",
        "failed",
        act=decides("abort"),
        code="STEP_FAILED",
        steps_end={"a": "compensated", "boom": "failed", "w": "cancelled", "race": "failed"},
    ),
    Recovery(
        "abort-tolerate",
        "{id: each, type: for_each, items: '{{ [1, 2] }}', tolerate: 2, concurrency: 1, do: ["
        f"{_held('failures: 9')}]}}, {_probe('never')}",
        "failed",
        act=decides("abort", "each[0].boom"),
        code="STEP_FAILED",
        steps_end={"each[0].boom": "failed", "each": "failed"},
    ),
    Recovery(
        "abort-compensation",
        # Only that list ends: the run is at its end anyway.
        f"{_undone('a')}, {{id: b, type: probe, compensate: [{{id: c, type: condition, if: 'true', "
        f"on_error: continue, then: [{_held('failures: 9')}]}}, {_probe('never')}]}}, "
        "{id: end, type: fail, code: NO_STOCK}",
        "failed",
        act=decides("abort"),
        code="NO_STOCK",
        steps_end={"a": "compensated", "b": "completed", "boom": "failed", "c": "failed"},
    ),
    Recovery(
        "held-cancel",
        f"{_undone('a')}, {_held('failures: 9')}",
        "cancelled",
        act=both(stands(held("boom")), cancel),
        steps_end={"a": "compensated", "boom": "cancelled"},
    ),
    Recovery(
        "held-container",
        f"{{id: c, type: condition, if: 'true', on_error: pause, then: [{_probe('one')}, {BOOM}]}}",
        act=decides("skip", "c", output=False),
        steps_end={"c": "skipped", "one": "completed", "boom": "failed"},
    ),
    Recovery(
        "held-vars",
        "{id: s, type: set, vars: {fails: 9}}, " + _held("value: 3, failures: '{{ vars.fails }}'"),
        act=both(
            stands(held("boom")),
            sets({"fails": 0}),
            decides("retry"),
        ),
        run_output="steps.boom.output.value",
        output=3,
    ),
    Recovery(
        "held-can",
        f"{{id: pair, type: parallel, branches: [{{name: a, do: [{_held('failures: 9')}]}}, "
        f"{{name: b, do: [{many(12)}, {WAIT}]}}]}}",
        act=both(
            stands(lambda state: state.generation > 0),
            decides("retry", input={"value": 4}),
            signals(),
        ),
        history_limit=30,
        # The time-skipping server may lose a task where a query meets a continue-as-new.
        real_time=True,
        run_output="steps.boom.output.value",
        output=4,
    ),
    # compensation
    Recovery(
        "compensate-failure",
        f"{_undone('a')}, {_undone('b')}, {BOOM}",
        "failed",
        code="STEP_FAILED",
        steps_end={"a": "compensated", "b": "compensated", "undo_a": "completed"},
    ),
    Recovery(
        "compensate-cancel",
        f"{_undone('a')}, {SLEEP}",
        "cancelled",
        act=both(stands(step_is("sleep", "waiting")), cancel),
        steps_end={"a": "compensated"},
    ),
    Recovery(
        "compensate-cancel-twice",
        f"{_undone('a')}, {{id: b, type: probe, compensate: [{{id: nap, type: delay, for: 800ms}}]}}, {WAIT}",
        "cancelled",
        act=both(stands(step_is("w", "waiting")), cancel_in_compensation),
        steps_end={"a": "compensated", "b": "compensated", "nap": "completed"},
        real_time=True,
    ),
    Recovery(
        "compensate-itself-fails",
        f"{_undone('a')}, {{id: b, type: probe, compensate: [{BOOM}]}}, {{id: end, type: fail, code: NO_STOCK}}",
        "failed",
        code="NO_STOCK",
        steps_end={"a": "compensated", "b": "completed", "boom": "failed"},
    ),
    Recovery(
        "compensate-held",
        f"{_undone('a')}, {{id: b, type: probe, compensate: [{_held('failures: 9')}]}}, {{id: end, type: fail}}",
        "failed",
        act=decides("skip"),
        code="STEP_FAILED",
        steps_end={"a": "compensated", "b": "compensated", "boom": "skipped"},
    ),
    Recovery(
        "compensate-in-doubt",
        "{id: slow, type: probe, timeout: 1s, retry: {attempts: 1}, with: {hold: true}, "
        f"compensate: [{_probe('undo_slow')}]}}",
        "failed",
        code="STEP_TIMEOUT",
        steps_end={"slow": "compensated", "undo_slow": "completed"},
    ),
    Recovery(
        "compensate-idle",
        f"{{id: w, type: wait, signal: go, timeout: 1h, compensate: [{_probe('undo_w')}]}}",
        "failed",
        code="STEP_TIMEOUT",
        steps_end={"w": "failed"},
    ),
    Recovery(
        "compensate-bad-output",
        "{id: a, type: probe, output: '{{ 1 / (input.n - 3) }}', "
        f"compensate: [{_probe('undo_a')}]}}",
        "failed",
        code="EXPRESSION_ERROR",
        steps_end={"a": "compensated", "undo_a": "completed"},
    ),
    Recovery(
        "compensate-before-retry",
        # What the first try did is undone with its results, also if the second does it not again.
        "{id: s, type: set, vars: {tries: 0}}, {id: c, type: condition, if: 'true', on_error: pause, "
        "then: [{id: one, type: set, vars: {tries: '{{ vars.tries + 1 }}'}}, "
        "{id: early, type: fail, if: vars.tries == 2}, {id: a, type: probe, with: {value: 4}, "
        "compensate: [{id: undo_a, type: probe, with: {value: '{{ steps.a.output.value }}', "
        "failures: '{{ steps.a.output.value - 4 }}'}}]}, " + BOOM + "]}",
        "failed",
        act=both(decides("retry", "c"), decides("abort", "c")),
        code="STEP_FAILED",
        steps_end={"a": "compensated", "undo_a": "completed"},
    ),
    Recovery(
        "compensate-selective",
        f"{_undone('a')}, {_undone('b', ', savepoint: true')}, {_undone('c')}, {BOOM}",
        "failed",
        code="STEP_FAILED",
        steps_end={"a": "completed", "b": "completed", "c": "compensated"},
        head="compensation: selective",
    ),
    Recovery(
        "compensate-loop",
        "{id: again, type: repeat, max: 3, until: index == 2, do: ["
        "{id: take, type: probe, with: {value: '{{ index }}'}, compensate: ["
        "{id: give, type: probe, with: {value: '{{ steps.take.output.value }}'}}]}]}, " + BOOM,
        "failed",
        code="STEP_FAILED",
        steps_end={"again[0].take": "compensated", "again[2].take": "compensated"},
    ),
    Recovery(
        "compensate-can",
        f"{_undone('a')}, {many(12)}, {BOOM}",
        "failed",
        code="STEP_FAILED",
        history_limit=30,
        steps_end={"a": "compensated"},
    ),
    Recovery(
        "on-failure",
        f"{_undone('a')}, {BOOM}",
        "failed",
        code="STEP_FAILED",
        steps_end={"a": "compensated", "tell": "completed"},
        head="on_failure: [{id: tell, type: probe, with: {value: '{{ error.code + error.step }}'}}]",
    ),
    Recovery(
        "on-failure-fails",
        BOOM,
        "failed",
        code="STEP_FAILED",
        steps_end={"tell": "failed"},
        head="on_failure: [{id: tell, type: fail, code: OTHER}]",
    ),
    # rewind
    Recovery(
        "rewind-list",
        f"{_probe('a')}, {_probe('b')}, {_probe('c')}, {WAIT}",
        act=rewinds("b", step_is("w", "waiting"), signals()),
        steps_end={"a": "completed", "w": "completed"},
    ),
    Recovery(
        "rewind-condition",
        f"{_probe('a')}, {{id: c, type: condition, if: 'true', then: [{_probe('t')}, {_probe('u')}]}}, {WAIT}",
        act=rewinds("u", step_is("w", "waiting"), signals()),
        steps_end={"c": "completed", "u": "completed"},
    ),
    Recovery(
        "rewind-parallel-any",
        # The branch that lost the race stays lost.
        f"{{id: race, type: parallel, join: any, branches: [{{name: a, do: [{_probe('fast')}]}}, "
        f"{{name: b, do: [{SLEEP}, {_probe('slow')}]}}]}}, {WAIT}",
        act=rewinds("fast", step_is("w", "waiting"), signals()),
        steps_end={"fast": "completed", "sleep": "cancelled", "race": "completed"},
        run_output="steps.race.output.b == null",
        output=True,
    ),
    Recovery(
        "rewind-for-each",
        "{id: each, type: for_each, items: '{{ [1, 2] }}', do: ["
        f"{_probe('p', chr(39) + '{{ item }}' + chr(39))}, {_probe('q')}]}}, {WAIT}",
        act=rewinds("each[1].q", step_is("w", "waiting"), signals()),
        steps_end={"each[0].q": "completed", "each[1].q": "completed"},
    ),
    Recovery(
        "rewind-repeat",
        "{id: again, type: repeat, max: 5, until: index == 2, do: ["
        f"{_probe('p', chr(39) + '{{ index }}' + chr(39))}]}}, {WAIT}",
        act=rewinds("again[2].p", step_is("w", "waiting"), signals()),
        run_output="steps.again.output.value",
        output=2,
    ),
    Recovery(
        "rewind-held",
        f"{_probe('a')}, {_held('failures: 9')}",
        act=rewinds("a", held("boom"), decides("skip")),
        steps_end={"boom": "skipped"},
    ),
    Recovery(
        "rewind-can",
        f"{many(12)}, {WAIT}",
        act=rewinds("p9", step_is("w", "waiting"), signals()),
        history_limit=30,
        real_time=True,
        steps_end={"p11": "completed"},
    ),
]
