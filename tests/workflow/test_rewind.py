"""Rewind: what follows runs again under another key, what does not keeps its result."""

from collections import Counter

import pytest

from tests.kit.acts import rewinds, signals, step_is
from tests.kit.probes import calls
from tests.kit.running import Runner, begun

_P = "{{id: {0}, type: probe}}"
WAIT = "{id: w, type: wait, signal: go}"


def _p(name: str) -> str:
    return _P.format(name)


CASES = {
    "list": (f"{_p('pay')}, {_p('payment')}, {_p('last')}, {WAIT}", "payment", "payment last"),
    "graph": (
        f"{_p('a')}, {{id: b, type: probe, depends_on: []}}, "
        f"{{id: c, type: probe, depends_on: [a]}}, {{id: d, type: probe, depends_on: [b]}}, "
        "{id: w, type: wait, signal: go, depends_on: [c, d]}",
        "a",
        "a c",
    ),
    "condition": (
        f"{_p('a')}, {{id: c, type: condition, if: 'true', then: [{_p('t')}, {_p('u')}], "
        f"else: [{_p('e')}]}}, {_p('z')}, {WAIT}",
        "u",
        "u z",
    ),
    "parallel": (
        f"{{id: both, type: parallel, branches: [{{name: a, do: [{_p('a')}, {_p('b')}]}}, "
        f"{{name: c, do: [{_p('c')}]}}]}}, {_p('z')}, {WAIT}",
        "b",
        "b z",
    ),
    "for-each": (
        f"{{id: each, type: for_each, items: [1, 2, 3], do: [{_p('p')}, {_p('q')}]}}, "
        f"{_p('z')}, {WAIT}",
        "each[1].q",
        "each[1].q z",
    ),
    "repeat": (
        f"{{id: again, type: repeat, max: 9, until: index == 2, do: [{_p('p')}, {_p('q')}]}}, "
        f"{_p('z')}, {WAIT}",
        "again[2].q",
        "again[2].q z",
    ),
}


@pytest.mark.parametrize("name", CASES)
async def test_what_runs_again(name: str, real_time: Runner) -> None:
    steps, target, again = CASES[name]
    start = real_time.start_of(f"name: rewind-{name}\nsteps: [{steps}]")
    handle = await real_time.start(start)
    await begun(handle)
    await rewinds(target, step_is("w", "waiting"), signals())(handle)
    ended = await real_time.end(handle)
    assert ended.state.status == "completed"
    ran = Counter(path for run, path in calls if run == start.run_id)
    assert sorted(path for path, count in ran.items() if count == 2) == sorted(again.split())
    assert set(ran.values()) == {1, 2}
    rounds = {path: step.round for path, step in ended.state.steps.items()}
    assert all(rounds[path] == 1 for path in again.split())
    assert all(rounds[path] == 0 for path in ran if path not in again.split() and path in rounds)
