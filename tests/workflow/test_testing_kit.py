"""The testing kit itself: what it finds, what it refuses, what it counts, and how fast it is."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from activities.registry import load
from activities.services import Services
from schemas.run import RunStatus
from schemas.validation import load_definition
from testing import actions, verdicts
from testing.bench import Bench
from testing.cases import Case
from testing.coverage import measure
from testing.judging import judge
from testing.outcome import Outcome
from testing.verdicts import activity_name
from testing.world import World

REGISTRY = load()
MAIL = "{{id: {0}, type: email, with: {{to: a@example.com, subject: {0}, text: hello}}}}"


@pytest.fixture(scope="module")
async def bench() -> AsyncIterator[Bench]:
    """One server for all tests."""
    async with Bench.open(REGISTRY) as found:
        yield found


async def play(bench: Bench, steps: str, more: str = "", **case: Any) -> Outcome:
    """Run one case of a definition and judge it."""
    definition = load_definition(f"name: tried\n{more}\nsteps: [{steps}]", REGISTRY)
    given = Case.model_validate({"name": "it", **case})
    return judge(await bench.run(definition, given), given)


def test_everything_that_the_interpreter_asks_is_answered() -> None:
    def nobody() -> World:
        raise AssertionError("nothing runs here")

    async def nothing() -> None:
        return

    fakes = [*verdicts.build(nobody, nothing), *actions.build(REGISTRY, lambda _: nobody())]
    real = REGISTRY.activities(Services())
    asked = {activity_name(each) for each in real} - {activity_name(each) for each in fakes}
    # Of Sojourn's own workflows, not of runs.
    assert asked == {"bulk_batch", "order_scheduled", "prune"}


async def test_ninety_days_take_far_less_than_a_second(bench: Bench) -> None:
    steps = ", ".join(
        f"{{id: d{day}, type: delay, for: 9d}}, {MAIL.format(f'm{day}')}" for day in range(10)
    )
    expect = {"min_virtual_time": "90d", "max_virtual_time": "91d"}
    found = [await play(bench, steps, expect=expect) for _ in range(3)]
    for outcome in found:
        assert outcome.ok, outcome.failures
        assert len(outcome.mails) == 10
    # About 0.1 s; other work on the machine may be in the way of one of them.
    assert min(outcome.real for outcome in found) < 1.0


async def test_each_attempt_answers_as_mocked(bench: Bench) -> None:
    steps = (
        "{id: call, type: http, timeout: 20s, retry: {attempts: 4, initial: 1h, max: 4h}, "
        "with: {url: 'https://api.example.com'}}"
    )
    mocks = {
        "call": [{"timeout": True}, {"error": {"code": "HTTP_ERROR"}}, {"result": {"body": 7}}]
    }
    found = await play(
        bench, steps, "output: '{{ steps.call.output.body }}'", mocks=mocks, expect={"output": 7}
    )
    assert found.ok, found.failures
    assert found.steps["call"].attempts == 3
    # Retries take no time, however long the step would wait for them.
    assert found.virtual.total_seconds() < 60
    assert found.warnings == []


async def test_what_is_not_mocked_is_named(bench: Bench) -> None:
    found = await play(
        bench, "{id: call, type: http, on_error: continue, with: {url: 'https://x.example.com'}}"
    )
    assert found.problems == [
        "the step 'call' calls the action 'http', which the case does not mock"
    ]
    found = await play(bench, "{id: replied, type: condition, check: reply_received}")
    assert found.problems == [
        "the condition 'replied' asks the check 'reply_received', which the case does not answer"
    ]
    found = await play(bench, "{id: other, type: workflow, definition: elsewhere}")
    assert found.problems == [
        "the step 'other' runs the definition 'elsewhere', which the case does not mock"
    ]


async def test_a_result_that_the_action_cannot_give_is_a_warning(bench: Bench) -> None:
    steps = "{id: call, type: http, with: {url: 'https://x.example.com'}}"
    found = await play(bench, steps, mocks={"call": {"status": "fine"}})
    assert found.ok
    assert "the result of 'call' does not fit http at status" in found.warnings[0]


async def test_parameters_are_checked_as_the_action_does(bench: Bench) -> None:
    steps = "{id: mail, type: email, with: {to: '{{ input.to }}', subject: s, text: t}}"
    found = await play(
        bench,
        steps,
        input={"to": "nobody"},
        expect={"error": {"code": "INVALID_INPUT", "step": "mail"}},
    )
    assert found.ok, found.failures


async def test_a_branch_that_fails_beside_others_hangs_nothing(bench: Bench) -> None:
    branches = ", ".join(
        f"{{name: b{n}, do: [{{id: s{n}, type: http, retry: {{attempts: 1}}, "
        f"with: {{url: 'https://x.example.com'}}}}]}}"
        for n in range(8)
    )
    mocks: dict[str, Any] = {f"s{n}": {} for n in range(7)} | {"s7": {"error": {}}}
    for _ in range(5):
        found = await play(
            bench,
            f"{{id: all, type: parallel, branches: [{branches}]}}",
            mocks=mocks,
            expect={"error": {"step": "s7"}},
        )
        assert found.ok, [*found.problems, *found.failures]


async def test_a_retried_step_holds_up_no_step_beside_it(bench: Bench) -> None:
    call = "{{id: {0}, type: http, {1}, with: {{url: 'https://x.example.com'}}}}"
    slow = call.format("slow", "retry: {attempts: 4, initial: 1m, max: 1m}")
    soon = call.format("soon", "on_error: continue")
    branches = f"{{name: a, do: [{slow}]}}, {{name: b, do: [{soon}]}}"
    for _ in range(5):
        found = await play(
            bench,
            f"{{id: all, type: parallel, branches: [{branches}]}}, {MAIL.format('last')}",
            mocks={
                "slow": [*[{"timeout": True}] * 3, {"result": {}}],
                "soon": {"error": {"code": "HTTP_ERROR", "retryable": False}},
            },
            expect={"steps": {"soon": "failed", "last": "completed"}, "attempts": {"slow": 4}},
        )
        assert found.ok, [*found.problems, *found.failures]


async def test_events_come_before_while_and_after_a_wait(bench: Bench) -> None:
    waits = ", ".join(
        f"{{id: {name}, type: wait, event: paid, key: '{{{{ input.order }}}}', "
        "timeout: 3d, on_timeout: continue}"
        for name in ("one", "two", "three")
    )
    steps = f"{{id: think, type: delay, for: 2d}}, {waits}"
    found = await play(
        bench,
        steps,
        input={"order": "o1"},
        events=[
            {"at": "1d", "type": "paid", "key": "o1", "data": 1},
            {"at": "1d", "type": "paid", "key": "o2", "data": 9},
            {"at": "4d", "type": "paid", "data": 2},
            {"at": "20d", "type": "paid", "key": "o1", "data": 3},
        ],
        expect={"max_virtual_time": "7d1m"},
    )
    assert found.ok, [*found.problems, *found.failures]
    outputs = [found.steps[name].output for name in ("one", "two", "three")]
    assert outputs == [1, 2, None]
    assert found.timed_out == ["think", "three"]


async def test_a_run_that_waits_for_ever_is_told_at_once(bench: Bench) -> None:
    found = await play(bench, "{id: w, type: wait, signal: go}", expect={"status": "waiting"})
    assert found.ok, found.failures
    assert found.waits_for == "waits for the signal 'go'"
    found = await play(bench, "{id: w, type: wait, signal: go}")
    assert found.failures == ["the run is waiting, not completed: it waits for the signal 'go'"]


async def test_a_large_loop_runs_in_batches_and_each_item_is_seen(bench: Bench) -> None:
    steps = (
        "{id: each, type: for_each, items: '{{ input.items }}', batch: 3, tolerate: 1, do: ["
        "{id: nap, type: delay, for: 1d}, {id: call, type: http, retry: {attempts: 1}, "
        "with: {url: 'https://x.example.com/{{ item }}'}}]}"
    )
    found = await play(
        bench,
        steps,
        input={"items": list(range(7))},
        mocks={"call": {}, "each[4].call": {"error": {"code": "HTTP_ERROR"}}},
        expect={"steps": {"each": "completed", "each[6].call": "completed"}},
    )
    assert found.ok, [*found.problems, *found.failures]
    states = [item["status"] for item in found.steps["each"].output]
    assert states == [*["completed"] * 4, "failed", "completed", "completed"]
    assert [str(edge) for edge in measure(found.definition, [found]).missed] == ["each: no items"]


async def test_sub_runs_end_as_mocked(bench: Bench) -> None:
    steps = (
        "{id: first, type: workflow, definition: other}, "
        "{id: second, type: workflow, definition: other, depends: conditional}, "
        "{id: third, type: workflow, definition: other, on_error: continue}, "
        "{id: last, type: workflow, definition: other, mode: detach}"
    )
    found = await play(
        bench,
        steps,
        mocks={
            "first": {"result": [1, 2]},
            "second": {"error": {"code": "NO_STOCK"}},
            "third": {"timeout": True},
            "last": {"result": None},
        },
    )
    assert found.ok, [*found.problems, *found.failures]
    assert found.steps["first"].output == [1, 2]
    assert found.steps["second"].output["status"] == "failed"
    assert found.steps["second"].output["error"]["code"] == "NO_STOCK"
    assert found.faults["third"] == ["TIMEOUT"]


async def test_what_a_run_emits_reaches_its_own_waits(bench: Bench) -> None:
    steps = (
        "{id: both, type: parallel, branches: ["
        "{name: a, do: [{id: heard, type: wait, event: told, key: k, timeout: 2d}]}, "
        "{name: b, do: [{id: nap, type: delay, for: 1d}, "
        "{id: say, type: emit, with: {type: told, key: k, data: {n: 1}}}]}]}"
    )
    found = await play(bench, steps, expect={"emitted": [{"type": "told", "data": {"n": 1}}]})
    assert found.ok, [*found.problems, *found.failures]
    assert found.steps["heard"].output == {"n": 1}


async def test_operators_act_on_a_run(bench: Bench) -> None:
    held = (
        "{id: call, type: http, on_error: pause, retry: {attempts: 1}, "
        "with: {url: 'https://x.example.com'}}"
    )
    found = await play(
        bench,
        f"{held}, {MAIL.format('done')}",
        mocks={"call": [{"error": {}}, {"error": {}}, {"result": {}}]},
        operators=[
            {"at": "1h", "action": "retry", "step": "call"},
            {"at": "2h", "action": "retry", "step": "call"},
        ],
        expect={"steps": {"call": "completed", "done": "completed"}},
    )
    assert found.ok, [*found.problems, *found.failures]
    found = await play(bench, held, mocks={"call": {"error": {}}}, expect={"status": "paused"})
    assert found.ok, found.failures
    found = await play(
        bench,
        "{id: nap, type: delay, for: 3d}",
        operators=[{"at": "1d", "action": "cancel"}],
        expect={"status": "cancelled", "max_virtual_time": "1d1m"},
    )
    assert found.ok, found.failures


async def test_what_comes_too_late_is_a_problem(bench: Bench) -> None:
    found = await play(bench, MAIL.format("m"), signals=[{"at": "1d", "name": "go"}])
    assert found.problems == ["the signal 'go' at 1d: the run had ended before"]


async def test_expectations_that_do_not_hold_are_told_one_by_one(bench: Bench) -> None:
    found = await play(
        bench,
        f"{MAIL.format('first')}, {{id: s, type: set, vars: {{x: 1}}}}",
        "output: '{{ vars.x }}'",
        expect={
            "output": 2,
            "path": ["first", "t"],
            "steps": {"s": "failed"},
            "vars": {"x": 3},
            "mails": [{"to": "b@example.com", "subject": "first"}],
            "emitted": [{"type": "a"}],
            "lead": {"status": "won"},
            "min_virtual_time": "1h",
        },
    )
    assert found.failures == [
        "output is 1, not 2",
        "the path differs after 'first': 's' instead of 't'; it was first, s",
        "the step 's' is completed, not failed",
        "vars.x is 1, not 3",
        'mails[0].to is ["a@example.com"], not ["b@example.com"]',
        'emitted is [], not [{"type":"a"}]',
        "the run has no lead",
        "the run took 0s, less than 1h",
    ]


async def test_every_kind_of_edge_is_counted(bench: Bench) -> None:
    source = """
name: edges
goal: {event: done, key: k}
on_failure: [{id: sorry, type: set, vars: {a: 1}}]
steps:
  - {id: c, type: condition, if: input.n > 1, then: [{id: c1, type: set, vars: {a: 1}}]}
  - {id: w, type: switch, on: input.n, cases: [{is: 1, do: []}, {if: input.n == 2, do: []}]}
  - id: v
    type: split
    holdout: 5
    variants: [{name: a, do: []}, {name: b, do: []}, {name: off, weight: 0, do: []}]
  - {id: g, type: set, if: input.n == 2, vars: {a: 1}}
  - id: p
    type: parallel
    branches: [{name: x, do: []}, {name: y, do: [{id: y1, type: set, vars: {a: 1}}]}]
  - {id: f, type: for_each, items: "{{ input.list }}", do: [{id: f1, type: set, vars: {a: 1}}]}
  - {id: r, type: repeat, while: "index < input.n", max: 2, do: [{id: r1, type: set, vars: {a: 1}}]}
  - {id: t, type: wait, signal: go, timeout: 1d, on_timeout: continue}
  - id: e
    type: http
    with: {url: "https://x.example.com"}
    retry: {attempts: 1}
    on_error: [{codes: [HTTP_ERROR], do: [{id: e1, type: set, vars: {a: 1}}]}, {do: fail}]
    compensate: [{id: u, type: set, vars: {a: 1}}]
  - {id: last, type: fail, if: input.n == 1}
"""
    definition = load_definition(source, REGISTRY)

    async def run(**case: Any) -> Outcome:
        return await bench.run(definition, Case.model_validate({"name": "x", **case}))

    one = await run(input={"n": 1, "list": []}, mocks={"e": {}}, variants={"v": "a"})
    found = measure(definition, [one])
    assert [str(edge) for edge in found.missed] == [
        "c: then",
        "w: case 2",
        "w: default",
        "v: variant b",
        "v: variant holdout",
        "g: if true",
        "f: items",
        "r: no iteration",
        "r: max reached",
        "t: came",
        "e: on_error HTTP_ERROR",
        "e: on_error any",
        "last: if false",
        "goal: reached",
    ]
    assert found.percent == pytest.approx(100 * 13 / 27)
    more = [
        await run(input={"n": 3, "list": [1]}, variants={"v": "b"}),
        await run(
            input={"n": 2, "list": [1]},
            signals=[{"at": "1h", "name": "go"}],
            mocks={"e": {"error": {"code": "HTTP_ERROR"}}},
            variants={"v": "holdout"},
        ),
        await run(input={"n": 0, "list": []}, mocks={"e": {"error": {"code": "FORBIDDEN"}}}),
        await run(input={"n": 0, "list": []}, events=[{"at": "1h", "type": "done"}]),
    ]
    assert [outcome.problems for outcome in more] == [[], [], [], []]
    assert [str(edge) for edge in measure(definition, [one, *more]).missed] == []
    assert more[-1].status is RunStatus.COMPLETED
