"""Loops with tolerance, batches and sub-runs, with every way to end."""

from tests.kit.scenarios import BOOM, SLEEP, Scenario, cancel

# What the sub-runs of the scenarios run; the tests publish them.
PUBLISHED = {
    "child-well": "steps: [{id: one, type: probe, with: {value: '{{ input.n }}'}}]\n"
    "input: {type: object, required: [n], properties: {n: {type: integer}}}\n"
    "output: '{{ steps.one.output.value }}'",
    "child-ill": f"steps: [{BOOM}]",
    "child-asleep": f"steps: [{SLEEP}]",
    "child-of-itself": "steps: [{id: again, type: workflow, definition: child-of-itself}]",
}
_ITEMS = "'{{ [1, 2, 3, 4, 5] }}'"
_VALUE = "{id: p, type: probe, with: {value: '{{ item * 10 + index }}'}}"
_FAILS = "{id: p, type: probe, retry: {attempts: 1}, with: {value: '{{ item }}', failures: '{{ item == 2 ? 9 : 0 }}'}}"
_SLOW = "{id: slow, type: probe, timeout: 1s, retry: {attempts: 1}, with: {hold: true}}"
_NAP = "{id: nap, type: delay, for: 1h}"
_UNTIL = "until: index == 2"


def _loop(more: str, *steps: str) -> str:
    do = ", ".join(steps)
    return f"{{id: each, type: for_each, items: {_ITEMS}, concurrency: 2, {more}, do: [{do}]}}"


def _repeat(more: str, *steps: str) -> str:
    return f"{{id: again, type: repeat, max: 50, {more}, do: [{', '.join(steps)}]}}"


def _sub(definition: str, more: str = "input: {}") -> str:
    return f"{{id: sub, type: workflow, definition: {definition}, {more}}}"


_MANY = ", ".join(f"{{id: p{n}, type: probe, with: {{value: {n}}}}}" for n in range(6))
# Only the first item goes on at once.
_LATER = "{id: c, type: condition, if: item > 1, then: [{id: nap, type: delay, for: 1h}]}"

LOOPS = [
    # for_each: join
    Scenario(
        "for-each-any-success",
        _loop("join: any", _LATER, _VALUE),
        run_output="steps.each.output.map(o, o == null ? -1 : o.value)",
        output=[10, -1, -1, -1, -1],
        steps_end={"each[0].p": "completed"},
    ),
    Scenario(
        "for-each-any-failure",
        _loop("join: any", BOOM),
        "failed",
        code="STEP_FAILED",
        steps_end={"each": "failed", "each[4].boom": "failed"},
    ),
    Scenario(
        "for-each-n-success",
        _loop("join: 4", _FAILS),
        run_output="steps.each.output.map(o, o == null ? -1 : o.value)",
        output=[1, -1, 3, 4, 5],
    ),
    Scenario("for-each-any-cancel", _loop("join: any", SLEEP), "cancelled", act=cancel),
    Scenario(
        "for-each-any-timeout",
        _loop("join: 5", _SLOW),
        "failed",
        code="STEP_TIMEOUT",
        real_time=True,
    ),
    Scenario(
        "for-each-any-can",
        _loop("join: 4", _FAILS, _MANY),
        history_limit=30,
        run_output="steps.each.output.map(o, o == null ? -1 : o.value)",
        output=[5, -1, 5, 5, 5],
    ),
    Scenario(
        "for-each-join-limit",
        "{id: each, type: for_each, items: '{{ input.many }}', join: any, do: [{id: p, type: probe}]}",
        "failed",
        code="LIMIT_EXCEEDED",
    ),
    # for_each: tolerate
    Scenario(
        "for-each-tolerate-success",
        _loop("tolerate: 20%", _FAILS),
        run_output="steps.each.output.map(o, o.error == null ? o.output.value : -o.index)",
        output=[1, -1, 3, 4, 5],
        steps_end={"each": "completed", "each[1].p": "failed"},
    ),
    Scenario(
        "for-each-tolerate-failure",
        _loop("tolerate: 1", BOOM),
        "failed",
        code="STEP_FAILED",
        real_time=True,
    ),
    Scenario("for-each-tolerate-cancel", _loop("tolerate: 1", SLEEP), "cancelled", act=cancel),
    Scenario(
        "for-each-tolerate-timeout",
        _loop("tolerate: 5", _SLOW),
        run_output="steps.each.output.map(o, o.error.code)",
        output=["STEP_TIMEOUT"] * 5,
        real_time=True,
    ),
    Scenario(
        "for-each-tolerate-can",
        _loop("tolerate: 1", _FAILS, _MANY),
        history_limit=30,
        run_output="steps.each.output.map(o, o.status)",
        output=["completed", "failed", "completed", "completed", "completed"],
    ),
    # for_each: batch
    Scenario(
        "for-each-batch-success",
        "{id: first, type: set, vars: {x: '{{ input.n }}'}}, "
        + _loop(
            "batch: 2, as: one",
            "{id: p, type: probe, with: {value: '{{ one * 10 + index + vars.x + steps.first.output.x + (run.id == \"\" ? 1 : 0) }}'}}",
        ),
        run_output="steps.each.output.map(o, o.value)",
        output=[16, 27, 38, 49, 60],
        steps_end={"each": "completed"},
    ),
    Scenario(
        "for-each-batch-failure",
        _loop("batch: 2", _FAILS),
        "failed",
        code="STEP_FAILED",
        real_time=True,
    ),
    Scenario(
        "for-each-batch-tolerate",
        _loop("batch: 2, tolerate: 1", _FAILS),
        run_output="steps.each.output.map(o, o.error == null ? o.output.value : -o.index)",
        output=[1, -1, 3, 4, 5],
    ),
    Scenario(
        "for-each-batch-too-many",
        _loop("batch: 2, tolerate: 1", BOOM),
        "failed",
        code="STEP_FAILED",
        real_time=True,
    ),
    Scenario(
        "for-each-batch-cancel",
        _loop("batch: 2", SLEEP),
        "cancelled",
        act=cancel,
        real_time=True,
    ),
    Scenario(
        "for-each-batch-timeout",
        _loop("batch: 2", _SLOW),
        "failed",
        code="STEP_TIMEOUT",
        real_time=True,
    ),
    Scenario(
        "for-each-batch-can",
        f"{_MANY}, " + _loop("batch: 1", _VALUE),
        history_limit=30,
        run_output="steps.each.output.map(o, o.value)",
        output=[10, 21, 32, 43, 54],
    ),
    Scenario(
        "for-each-batch-stop",
        _loop(
            "batch: 2",
            "{id: s, type: stop, if: item == 3, output: '{{ index }}'}, {id: nap, type: delay, for: 1h}",
        ),
        output=2,
    ),
    Scenario(
        "for-each-many",
        "{id: each, type: for_each, items: '{{ input.many }}', do: [{id: c, type: condition, if: item > 100}]}",
        run_output="size(steps.each.output.filter(o, o))",
        output=100,
    ),
    # repeat
    Scenario(
        "repeat-success",
        _repeat(_UNTIL, "{id: p, type: probe, with: {value: '{{ index }}'}}"),
        run_output="steps.again.output.value",
        output=2,
    ),
    Scenario(
        "repeat-while",
        "{id: v, type: set, vars: {x: 0}}, "
        + _repeat("while: vars.x < 3", "{id: more, type: set, vars: {x: '{{ vars.x + 1 }}'}}"),
        run_output="vars.x",
        output=3,
    ),
    Scenario("repeat-failure", _repeat(_UNTIL, BOOM), "failed", code="STEP_FAILED"),
    Scenario(
        "repeat-max",
        "{id: again, type: repeat, max: 3, while: 'true', do: [{id: p, type: probe}]}",
        "failed",
        code="LIMIT_EXCEEDED",
    ),
    Scenario("repeat-cancel", _repeat(_UNTIL, SLEEP), "cancelled", act=cancel),
    Scenario("repeat-timeout", _repeat(_UNTIL, _SLOW), "failed", code="STEP_TIMEOUT"),
    Scenario(
        "repeat-every",
        _repeat(f"{_UNTIL}, every: 1h", "{id: p, type: probe, with: {value: '{{ index }}'}}"),
        run_output="[steps.again.output.value, run.now - run.started_at >= duration('2h')]",
        output=[2, True],
    ),
    Scenario(
        "repeat-can",
        _repeat("until: index == 20", "{id: p, type: probe, with: {value: '{{ index }}'}}"),
        history_limit=30,
        run_output="steps.again.output.value",
        output=20,
    ),
    # workflow
    Scenario(
        "sub-blocking-success",
        _sub("child-well", "input: {n: '{{ input.n }}'}"),
        run_output="steps.sub.output",
        output=3,
    ),
    Scenario("sub-blocking-failure", _sub("child-ill"), "failed", code="STEP_FAILED"),
    Scenario(
        "sub-blocking-cancel",
        _sub("child-asleep"),
        "cancelled",
        act=cancel,
        real_time=True,
        steps_end={"sub": "cancelled"},
    ),
    Scenario(
        "sub-conditional-success",
        _sub("child-well", "input: {n: 4}, depends: conditional"),
        run_output="[steps.sub.output.status, steps.sub.output.output]",
        output=["completed", 4],
    ),
    Scenario(
        "sub-conditional-failure",
        _sub("child-ill", "depends: conditional"),
        run_output="[steps.sub.output.status, steps.sub.output.error.code]",
        output=["failed", "STEP_FAILED"],
    ),
    Scenario(
        "sub-conditional-cancel",
        _sub("child-asleep", "depends: conditional"),
        "cancelled",
        act=cancel,
        real_time=True,
    ),
    Scenario(
        "sub-parallel-success",
        _sub("child-asleep", "depends: parallel"),
        run_output="[size(steps.sub.output.run_id), run.now - run.started_at >= duration('72h')]",
        output=[36, True],
    ),
    Scenario(
        "sub-parallel-failure",
        f"{_sub('child-ill', 'depends: parallel')}, {_NAP}",
        "failed",
        code="STEP_FAILED",
        steps_end={"sub": "completed", "nap": "completed"},
    ),
    Scenario(
        "sub-parallel-cancel",
        f"{_sub('child-asleep', 'depends: parallel')}, {SLEEP.replace('sleep', 'other')}",
        "cancelled",
        act=cancel,
        real_time=True,
    ),
    Scenario(
        "sub-parallel-broken",
        f"{_sub('child-asleep', 'depends: parallel')}, {BOOM}",
        "failed",
        code="STEP_FAILED",
    ),
    Scenario(
        "sub-parallel-can",
        f"{_sub('child-ill', 'depends: parallel')}, {_MANY}, {_NAP}",
        "failed",
        code="STEP_FAILED",
        history_limit=30,
        steps_end={"nap": "completed"},
    ),
    # On the time-skipping server no time is skipped any more once a run has left a child open.
    Scenario(
        "sub-detach-success",
        _sub("child-asleep", "mode: detach"),
        run_output="[size(steps.sub.output.run_id), run.now - run.started_at < duration('1h')]",
        output=[36, True],
        real_time=True,
    ),
    Scenario(
        "sub-detach-failure",
        f"{_sub('child-ill', 'mode: detach')}, {{id: nap, type: delay, for: 1s}}",
        steps_end={"nap": "completed"},
        real_time=True,
    ),
    Scenario(
        "sub-detach-cancel",
        f"{_sub('child-asleep', 'mode: detach')}, {_NAP}",
        "cancelled",
        act=cancel,
        real_time=True,
    ),
    Scenario("sub-unknown", _sub("child-nowhere"), "failed", code="DEFINITION_NOT_FOUND"),
    Scenario("sub-version", _sub("child-well", "version: 9"), "failed", code="VERSION_CONFLICT"),
    Scenario("sub-input", _sub("child-well"), "failed", code="INVALID_INPUT"),
    Scenario("sub-depth", _sub("child-of-itself"), "failed", code="LIMIT_EXCEEDED"),
    # parallel and split
    Scenario(
        "parallel-any",
        "{id: both, type: parallel, join: any, branches: [{name: a, do: [{id: p, type: probe, with: {value: 1}}]}, "
        f"{{name: b, do: [{SLEEP}]}}]}}",
        run_output="[steps.both.output.a.value, steps.both.output.b]",
        output=[1, None],
        steps_end={"sleep": "cancelled", "both": "completed"},
    ),
    Scenario(
        "parallel-n",
        "{id: both, type: parallel, join: 2, on_branch_error: continue, branches: "
        f"[{{name: a, do: [{BOOM}]}}, {{name: b, do: [{_NAP}]}}, {{name: c, do: [{{id: p, type: probe, with: {{value: 3}}}}]}}]}}",
        run_output="[steps.both.output.a, steps.both.output.c.value]",
        output=[None, 3],
        steps_end={"boom": "failed", "nap": "completed"},
    ),
    Scenario(
        "parallel-too-few",
        "{id: both, type: parallel, join: 2, on_branch_error: continue, branches: "
        f"[{{name: a, do: [{BOOM}]}}, {{name: b, do: [{_NAP}]}}]}}",
        "failed",
        code="STEP_FAILED",
    ),
    Scenario(
        "parallel-continue",
        "{id: both, type: parallel, on_branch_error: continue, branches: "
        f"[{{name: a, do: [{BOOM}]}}, {{name: b, do: [{{id: p, type: probe, with: {{value: 2}}}}]}}]}}",
        run_output="[steps.both.output.a, steps.both.output.b.value]",
        output=[None, 2],
    ),
    Scenario(
        "split-success",
        "{id: ab, type: split, key: ada, variants: [{name: a, do: [{id: p, type: probe, with: {value: 1}}]}, {name: b, weight: 0, do: [{id: q, type: probe}]}]}",
        run_output="[steps.ab.output.variant, steps.ab.output.output.value]",
        output=["a", 1],
    ),
    Scenario(
        "split-holdout",
        "{id: ab, type: split, holdout: 100, variants: [{name: a, do: [{id: p, type: probe}]}]}",
        run_output="[steps.ab.output.variant, steps.ab.output.output]",
        output=["holdout", None],
    ),
    Scenario(
        "split-failure",
        f"{{id: ab, type: split, variants: [{{name: a, do: [{BOOM}]}}]}}",
        "failed",
        code="STEP_FAILED",
    ),
    Scenario(
        "split-cancel",
        f"{{id: ab, type: split, variants: [{{name: a, do: [{SLEEP}]}}]}}",
        "cancelled",
        act=cancel,
    ),
    Scenario(
        "split-timeout",
        f"{{id: ab, type: split, variants: [{{name: a, do: [{_SLOW}]}}]}}",
        "failed",
        code="STEP_TIMEOUT",
    ),
    Scenario(
        "split-can",
        f"{{id: ab, type: split, variants: [{{name: a, do: [{_MANY}, {_NAP}]}}]}}, {{id: l, type: probe, with: {{value: '{{{{ steps.ab.output.variant }}}}'}}}}",
        history_limit=30,
        run_output="steps.l.output.value",
        output="a",
    ),
]
