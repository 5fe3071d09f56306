"""Waits for events, and goals, with every way to end; before, while and after a run asks."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from temporalio.client import WorkflowHandle

from schemas.run import RunState, StepStatus
from tests.kit.posting import Desk, until

Handle = WorkflowHandle[Any, Any]
Act = Callable[[Handle, Desk], Awaitable[None]]


@dataclass(frozen=True)
class EventScenario:
    """One run: its steps, what is posted before it starts and done meanwhile, how it ends."""

    name: str
    steps: str
    status: str = "completed"
    output: Any = None
    code: str | None = None
    before: tuple[tuple[str, Any], ...] = ()
    act: Act | None = None
    steps_end: dict[str, str] = field(default_factory=dict)
    run_output: str = ""
    top: str = ""
    history_limit: int | None = None
    real_time: bool = False


def waits(path: str) -> Callable[[RunState], bool]:
    """True once the step waits."""

    def holds(state: RunState) -> bool:
        return path in state.steps and state.steps[path].status == StepStatus.WAITING

    return holds


def done(path: str) -> Callable[[RunState], bool]:
    """True once the step is at its end."""

    def holds(state: RunState) -> bool:
        return path in state.steps and state.steps[path].status.done

    return holds


def post(*events: tuple[str, Any], at: str = "w") -> Act:
    """Post events one after the other once the step `at` waits."""

    async def act(handle: Handle, desk: Desk) -> None:
        await until(handle, waits(at))
        for kind, data in events:
            await desk.post(kind, data)

    return act


async def _early(handle: Handle, desk: Desk) -> None:
    await until(handle, waits("first"))
    await desk.post("paid", {"n": 1})
    await handle.signal("go", None)


async def _signal_last(handle: Handle, desk: Desk) -> None:
    await until(handle, waits("w"))
    await desk.post("sent", {"n": 2})
    await desk.post("paid", {"n": 1})
    await handle.signal("go", {"n": 3})


async def _cancel(handle: Handle, _desk: Desk) -> None:
    await until(handle, waits("w"))
    await handle.cancel()


async def _others(handle: Handle, desk: Desk) -> None:
    await until(handle, waits("w"))
    await desk.post("paid", {"n": 1}, key="somebody-else")
    await desk.post("sent", {"n": 2})
    await desk.post("paid", {"n": 3})


async def _in_the_next_generation(handle: Handle, desk: Desk) -> None:
    await until(handle, waits("w"))
    await desk.post("paid", {"n": 1})
    await until(handle, done("p11"))
    await desk.post("sent", {"n": 2})


async def _late(handle: Handle, desk: Desk) -> None:
    await until(handle, waits("later"))
    await desk.post("paid", {"n": 1})
    await handle.signal("go", None)


async def _paused(handle: Handle, desk: Desk) -> None:
    await until(handle, waits("w"))
    await handle.signal("pause")
    await desk.post("booked", {"n": 1})
    await until(handle, done("w"))
    await handle.signal("resume")


async def _finish(handle: Handle, desk: Desk) -> None:
    await until(handle, waits("w"))
    await desk.post("paid", {"n": 1})


async def _cancel_on_goal(handle: Handle, desk: Desk) -> None:
    await until(handle, waits("w"))
    await desk.post("booked")
    await until(handle, waits("later"))
    await handle.cancel()


async def _goal_between(handle: Handle, desk: Desk) -> None:
    await until(handle, lambda state: state.generation > 0 and "w" in state.steps)
    await desk.post("booked", {"n": 1})


def _wait(more: str = "", name: str = "w") -> str:
    return f"{{id: {name}, type: wait, event: paid, key: '{{{{ input.key }}}}'{more}}}"


def _many(count: int) -> str:
    return ", ".join(f"{{id: p{n}, type: probe, with: {{value: {n}}}}}" for n in range(count))


_KEY = "key: '{{ input.key }}'"
_ANY = f"{{id: w, type: wait, any: [{{signal: go}}, {{event: paid, {_KEY}}}, {{event: sent, {_KEY}}}]}}"
_ALL = _ANY.replace("any:", "all:")
_ALL_LATE = _ALL.replace("type: wait", "type: wait, timeout: 2d")
_BESIDE = "{{id: both, type: parallel, branches: [{{name: a, do: [{0}]}}, {{name: b, do: [{1}]}}]}}"
_GOAL = f"goal: {{event: booked, {_KEY}}}"
_ON_GOAL = (
    f"{_GOAL}\non_goal: [{{id: thanks, type: probe, with: {{value: '{{{{ event.data.n }}}}'}}}}]"
)
_SLEEP = "{id: w, type: delay, for: 90d}"
_NEXT = (
    "{id: x, type: delay, for: 1s}, {id: y, type: delay, for: 1s}, {id: z, type: delay, for: 1s}"
)

EVENT_SCENARIOS = [
    # when it comes
    EventScenario(
        "event-success",
        _wait(),
        act=post(("paid", {"n": 1})),
        run_output="steps.w.output.n",
        output=1,
    ),
    EventScenario(
        "event-before",
        _wait(),
        before=(("paid", {"n": 7}),),
        run_output="steps.w.output.n",
        output=7,
    ),
    EventScenario(
        "event-early",
        f"{{id: first, type: wait, signal: go}}, {_wait()}",
        act=_early,
        run_output="steps.w.output.n",
        output=1,
    ),
    EventScenario(
        "event-order",
        ", ".join(_wait(name=f"w{n}") for n in range(3)),
        before=(("paid", 1), ("paid", 2), ("paid", 3)),
        run_output="[steps.w0.output, steps.w1.output, steps.w2.output]",
        output=[1, 2, 3],
    ),
    EventScenario("event-others", _wait(), act=_others, run_output="steps.w.output.n", output=3),
    # time
    EventScenario("event-timeout", _wait(", timeout: 2d"), "failed", code="STEP_TIMEOUT"),
    EventScenario(
        "event-timeout-continue",
        _wait(", timeout: 2d, on_timeout: continue"),
        run_output="steps.w.output == null",
        output=True,
    ),
    EventScenario(
        "event-timeout-list",
        _wait(", timeout: 2d, on_timeout: [{id: late, type: probe, with: {value: late}}]"),
        run_output="steps.w.output.value",
        output="late",
        steps_end={"late": "completed", "w": "completed"},
    ),
    EventScenario(
        "event-late",
        _wait(f", timeout: 1s, on_timeout: [{{id: later, type: wait, signal: go}}, {_many(12)}]"),
        act=_late,
        history_limit=30,
        real_time=True,
        run_output="steps.w.output.value",
        output=11,
    ),
    # where
    EventScenario(
        "event-where",
        f"{_wait(', where: event.data.n > input.n')}, {_wait(name='rest')}",
        act=post(("paid", {"n": 2}), ("paid", {"n": 4})),
        run_output="[steps.w.output.n, steps.rest.output.n]",
        output=[4, 2],
    ),
    EventScenario(
        "event-where-failure",
        _wait(", where: event.data.nope > 1"),
        "failed",
        before=(("paid", {"n": 2}),),
        code="EXPRESSION_ERROR",
    ),
    EventScenario(
        "event-key-empty",
        "{id: w, type: wait, event: paid, key: '{{ input.nobody }}'}",
        "failed",
        code="INVALID_INPUT",
    ),
    # several
    EventScenario(
        "event-any",
        _ANY,
        act=post(("sent", {"n": 2})),
        run_output="[steps.w.output.index, steps.w.output.source, steps.w.output.data.n]",
        output=[2, "sent", 2],
    ),
    EventScenario(
        "event-all",
        _ALL,
        act=_signal_last,
        run_output="steps.w.output.map(data, data.n)",
        output=[3, 1, 2],
    ),
    EventScenario(
        "event-all-timeout",
        _ALL_LATE,
        "failed",
        act=post(("paid", {"n": 1})),
        code="STEP_TIMEOUT",
    ),
    # the end of the run
    EventScenario("event-cancel", _wait(), "cancelled", act=_cancel, steps_end={"w": "cancelled"}),
    EventScenario("event-any-cancel", _ANY, "cancelled", act=_cancel),
    EventScenario(
        "event-can",
        _BESIDE.format(_wait(", where: event.data.n > 1"), f"{_many(12)}, {_wait(name='other')}"),
        before=(("paid", {"n": 1}),),
        act=post(("paid", {"n": 2})),
        history_limit=30,
        run_output="[steps.w.output.n, steps.other.output.n]",
        output=[2, 1],
    ),
    EventScenario(
        "event-all-can",
        _BESIDE.format(_ALL.replace("{signal: go}, ", ""), _many(12)),
        act=_in_the_next_generation,
        history_limit=30,
        real_time=True,
        run_output="steps.w.output.map(data, data.n)",
        output=[1, 2],
    ),
    # goal
    EventScenario(
        "goal-success",
        _SLEEP,
        top=_ON_GOAL,
        act=post(("booked", {"n": 5})),
        run_output="steps.thanks.output",
        output={"value": 5},
        steps_end={"w": "cancelled", "thanks": "completed"},
    ),
    EventScenario(
        "goal-before",
        _SLEEP,
        top=_ON_GOAL,
        before=(("booked", {"n": 5}),),
        run_output="steps.thanks.output",
        output={"value": 5},
    ),
    EventScenario(
        "goal-missed",
        f"{_wait()}, {{id: p, type: probe, with: {{value: end}}}}",
        top=_ON_GOAL,
        act=_finish,
        run_output="steps.p.output",
        output={"value": "end"},
    ),
    EventScenario(
        "goal-shared",
        f"{{id: w, type: wait, event: booked, {_KEY}}}, {{id: x, type: delay, for: 1d}}",
        top=_ON_GOAL,
        act=post(("booked", {"n": 5})),
        run_output="steps.thanks.output",
        output={"value": 5},
        steps_end={"w": "completed", "x": "cancelled"},
    ),
    EventScenario(
        "goal-where",
        _SLEEP,
        top=_ON_GOAL.replace("}}'}\n", "}}', where: event.data.n > 2}\n"),
        act=post(("booked", {"n": 2}), ("booked", {"n": 3})),
        run_output="steps.thanks.output",
        output={"value": 3},
    ),
    EventScenario(
        "goal-stop",
        _SLEEP,
        top=f"{_GOAL}\non_goal: [{{id: end, type: stop, output: '{{{{ event.type }}}}'}}]",
        act=post(("booked", None)),
        run_output="'not this'",
        output="booked",
    ),
    EventScenario(
        "goal-failure",
        _SLEEP,
        "failed",
        top=f"{_GOAL}\non_goal: [{{id: end, type: fail, code: NO_ROOM}}]",
        act=post(("booked", None)),
        code="NO_ROOM",
    ),
    EventScenario(
        "goal-timeout",
        _SLEEP,
        "failed",
        top=f"{_GOAL}\non_goal: [{{id: slow, type: probe, timeout: 1s, retry: {{attempts: 1}}, with: {{hold: true}}}}]",
        act=post(("booked", None)),
        code="STEP_TIMEOUT",
    ),
    EventScenario(
        "goal-cancel",
        _SLEEP,
        "cancelled",
        top=f"{_GOAL}\non_goal: [{{id: later, type: delay, for: 1d}}]",
        act=_cancel_on_goal,
        steps_end={"w": "cancelled", "later": "cancelled"},
    ),
    EventScenario(
        "goal-pause",
        _SLEEP,
        top=_ON_GOAL,
        act=_paused,
        run_output="steps.thanks.output",
        output={"value": 1},
    ),
    EventScenario(
        "goal-can",
        f"{_many(12)}, {_SLEEP}",
        top=_ON_GOAL,
        act=_goal_between,
        history_limit=30,
        real_time=True,
        run_output="steps.thanks.output",
        output={"value": 1},
        steps_end={"w": "cancelled"},
    ),
    EventScenario(
        "goal-can-after",
        _SLEEP,
        top=f"{_GOAL}\non_goal: [{_many(12)}]",
        act=post(("booked", None)),
        history_limit=30,
        run_output="steps.p11.output",
        output={"value": 11},
        steps_end={"w": "cancelled", "p11": "completed"},
    ),
]


def event_definition(scenario: EventScenario) -> str:
    """Give the scenario's definition as YAML."""
    lines = [f"name: {scenario.name}", f"steps: [{scenario.steps}]"]
    if scenario.run_output:
        lines.append(f'output: "{{{{ {scenario.run_output} }}}}"')
    return "\n".join([*lines, scenario.top])
