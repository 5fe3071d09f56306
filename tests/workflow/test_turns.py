"""A step whose turn has not come waits for it without using up an attempt."""

from tests.kit.running import Ended, Runner


async def ended(runner: Runner, steps: str) -> Ended:
    text = f"{{name: turns, steps: [{steps}]}}"
    return await runner.end(await runner.start(runner.start_of(text)))


async def test_one_attempt_is_enough_to_wait(skipping: Runner) -> None:
    found = await ended(
        skipping, "{id: a, type: probe, retry: {attempts: 1}, with: {turn: 90, value: 7}}"
    )
    step = found.state.steps["a"]
    assert (step.output, step.attempts) == ({"value": 7}, 1)
    assert step.started_at is not None
    assert step.finished_at is not None
    assert 90 <= (step.finished_at - step.started_at).total_seconds() < 100


async def test_what_fails_after_its_turn_has_all_its_attempts(skipping: Runner) -> None:
    found = await ended(
        skipping,
        "{id: a, type: probe, retry: {attempts: 3, initial: 1s}, with: {turn: 90, failures: 2}}",
    )
    assert (found.steps, found.state.steps["a"].attempts) == ({"a": "completed"}, 3)
    found = await ended(
        skipping,
        "{id: a, type: probe, retry: {attempts: 3, initial: 1s}, with: {turn: 90, failures: 3}}",
    )
    assert (found.steps, found.state.steps["a"].attempts) == ({"a": "failed"}, 3)


async def test_a_turn_that_comes_later_than_a_failure_keeps_what_was_tried(
    skipping: Runner,
) -> None:
    with_ = "with: {turn: 90, turn_after: 1, failures: 1, value: 7}"
    found = await ended(
        skipping, f"{{id: a, type: probe, retry: {{attempts: 2, initial: 1s}}, {with_}}}"
    )
    assert (found.steps, found.state.steps["a"].attempts) == ({"a": "completed"}, 2)


async def test_in_a_stretch_what_follows_waits_as_well(skipping: Runner) -> None:
    inline = "type: probe, execution: inline, retry: {attempts: 1}"
    found = await ended(
        skipping,
        f"{{id: a, {inline}, with: {{value: 1}}}}, {{id: b, {inline}, with: {{turn: 90}}}},"
        f" {{id: c, {inline}, with: {{value: '{{{{ steps.a.output.value }}}}'}}}}",
    )
    assert {step.attempts for step in found.state.steps.values()} == {1}
    assert found.state.steps["c"].output == {"value": 1}
