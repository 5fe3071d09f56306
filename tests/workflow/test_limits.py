"""Limits that only a run can pass: each fails its step with LIMIT_EXCEEDED and the number."""

import pytest

from tests.kit.running import Runner

LIMITS = {
    "items": (
        "{id: a, type: for_each, items: '{{ input.many }}', do: [{id: b, type: probe}]}",
        {"many": [0] * 10_001},
        "'items' has 10001 items; the limit is 10000",
    ),
    "output": (
        "{id: a, type: probe, with: {size: 300000}}",
        {},
        "a step keeps at most 262,144",
    ),
    "rounds": (
        "{id: a, type: repeat, until: index > 5, max: 3, do: [{id: b, type: set, vars: {x: 1}}]}",
        {},
        "the loop did not end within 3 iterations",
    ),
}


@pytest.mark.parametrize("name", LIMITS)
async def test_limits_of_runs(name: str, skipping: Runner) -> None:
    steps, given, message = LIMITS[name]
    text = f"name: limits-{name}\nsteps: [{steps}]"
    ended = await skipping.end(await skipping.start(skipping.start_of(text, given)))
    error = ended.state.error
    assert error is not None
    assert (error.code, error.step) == ("LIMIT_EXCEEDED", "a")
    assert message in error.message
