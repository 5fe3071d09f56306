"""Loops longer than a history: nothing is lost over many continue-as-news, a pause and events."""

import asyncio

from db import runs
from db.engine import Database
from schemas.run import RunState, RunStatus
from tests.kit.posting import Desk
from tests.kit.running import Runner, state_of, until

# Iterations and events, in the short form and in the long one.
SIZES = ((900, 150), (3000, 500))


def loops(iterations: int, events: int) -> str:
    """Give a definition of two loops: one counts, the other takes events."""
    return f"""
name: long-loop
output: "{{{{ [vars.count, vars.sum] }}}}"
steps:
  - {{id: begin, type: set, vars: {{count: 0, sum: 0}}}}
  - id: loop
    type: repeat
    until: vars.count == {iterations}
    max: {iterations}
    do:
      - {{id: one, type: set, vars: {{count: "{{{{ vars.count + 1 }}}}"}}}}
  - id: collect
    type: repeat
    until: index == {events - 1}
    max: {events}
    do:
      - {{id: tick, type: wait, event: tick, key: "{{{{ run.id }}}}", timeout: 1h}}
      - {{id: add, type: set, vars: {{sum: "{{{{ vars.sum + steps.tick.output.n }}}}"}}}}
"""


async def test_iterations_with_events_and_a_pause(
    real_time: Runner, database: Database, long: bool
) -> None:
    iterations, events = SIZES[long]
    start = real_time.start_of(loops(iterations, events), history_limit=300 if long else 90)
    async with database.session() as session:
        await runs.insert_queued(
            session,
            start.workspace,
            run_id=start.run_id,
            definition="long-loop",
            version=1,
            input={},
        )
    desk = Desk(database, real_time.client, start.workspace, start.run_id)
    handle = await real_time.start(start)

    async def state() -> RunState:
        return await state_of(handle)

    async def generations() -> bool:
        return (await state()).generation > 0

    async def paused() -> RunState | None:
        found = await state()
        return found if found.status == RunStatus.PAUSED else None

    await until(generations)
    await handle.signal("pause")
    for number in range(events // 2):
        await desk.post("tick", {"n": number})
    assert 0 < (await until(paused)).vars["count"] < iterations
    await handle.signal("resume")
    for number in range(events // 2, events):
        await desk.post("tick", {"n": number})
    async with asyncio.timeout(120):
        output = await handle.result()
    ended = await state()
    assert output == [iterations, sum(range(events))]
    assert ended.generation >= 10
    # Of the iterations only the last one's steps were carried.
    assert len(ended.steps) < 10


EVERY = """
name: every
output: "{{ run.now - run.started_at >= duration('23h') }}"
steps:
  - id: loop
    type: repeat
    until: index == 23
    max: 24
    every: 1h
    do: [{id: nap, type: delay, for: 30m}]
"""


async def test_every_counts_from_the_begin_of_an_iteration(skipping: Runner) -> None:
    ended = await skipping.end(await skipping.start(skipping.start_of(EVERY)))
    assert ended.state.output is True
    took = ended.state.steps["loop"]
    assert took.finished_at is not None
    assert took.started_at is not None
    assert (took.finished_at - took.started_at).total_seconds() < 24 * 3600
