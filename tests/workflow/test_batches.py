"""Batches of a loop: compensation over them, pause, and what a child sees of its parent."""

from typing import Any

from schemas.run import StepStatus
from tests.kit.probes import calls
from tests.kit.running import Runner, begun, state_of, until
from tests.workflow.test_loop_scenarios import children

SAGA = """
name: saga
steps:
  - id: each
    type: for_each
    items: [1, 2, 3, 4]
    batch: 2
    concurrency: 1
    do:
      - id: book
        type: probe
        with: {value: "{{ item * 10 }}"}
        compensate: [{id: unbook, type: probe, with: {value: "{{ steps.book.output.value }}"}}]
  - {id: boom, type: fail}
"""


async def test_compensations_of_finished_batches_run_in_reverse(skipping: Runner) -> None:
    start = skipping.start_of(SAGA)
    ended = await skipping.end(await skipping.start(start))
    assert ended.state.status == "failed"
    mine = [path for run, path in calls if run == start.run_id]
    assert mine == [f"each[{index}].unbook" for index in (3, 2, 1, 0)]
    states = ended.state.steps
    assert [states[f"each[{n}].unbook"].output["value"] for n in range(4)] == [10, 20, 30, 40]
    assert {states[f"each[{n}].book"].status for n in range(4)} == {StepStatus.COMPENSATED}


NESTED = """
name: nested
input: {type: object, properties: {base: {type: integer}}}
output: "{{ steps.outer.output }}"
steps:
  - id: outer
    type: for_each
    items: [1, 2]
    as: row
    batch: 1
    do:
      - {id: add, type: set, vars: {sum: "{{ row + input.base }}"}}
      - id: inner
        type: for_each
        items: [5, 6, 7]
        batch: 2
        tolerate: 1
        do:
          - {id: no, type: fail, if: item == 6}
          - id: p
            type: probe
            with: {value: "{{ [row, item, index, vars.sum, steps.add.output.sum, run.id] }}"}
      - {id: last, type: probe, with: {value: "{{ steps.inner.output }}"}}
"""


async def test_batches_within_batches_see_what_stands_above_them(skipping: Runner) -> None:
    start = skipping.start_of(NESTED, {"base": 100})
    ended = await skipping.end(await skipping.start(start))
    assert ended.state.error is None
    output: list[Any] = ended.state.output
    for row, told in enumerate(output, start=1):
        seen = told["value"]
        assert [one["status"] for one in seen] == ["completed", "failed", "completed"]
        expected = [row, 5, 0, row + 100, row + 100, start.run_id]
        assert seen[0]["output"]["value"] == expected
        assert seen[2]["output"]["value"] == [row, 7, 2, row + 100, row + 100, start.run_id]
        assert seen[1]["error"]["step"] == f"outer[{row - 1}].inner[1].no"


WAITING = """
name: waiting-batches
output: "{{ size(steps.each.output) }}"
steps:
  - id: each
    type: for_each
    items: [1, 2]
    batch: 1
    do: [{id: go, type: wait, signal: go, timeout: 1h}, {id: p, type: probe}]
"""


async def test_a_pause_reaches_the_batches(real_time: Runner) -> None:
    handle = await real_time.start(real_time.start_of(WAITING))

    async def both() -> list[tuple[str, str]] | None:
        found = await children(real_time, handle)
        return found if len(found) == 2 else None

    below = [
        real_time.client.get_workflow_handle(workflow_id) for workflow_id, _ in await until(both)
    ]

    async def paused() -> bool:
        states = [await state_of(child) for child in below]
        return all(state.paused for state in states)

    for child in below:
        await begun(child)
    await handle.signal("pause")
    await until(paused)
    for child in below:
        await child.signal("go")
    await handle.signal("resume")
    assert (await real_time.end(handle)).state.output == 2


ABORTING = """
name: aborting-batches
steps:
  - {id: a, type: probe, compensate: [{id: undo_a, type: probe}]}
  - id: each
    type: for_each
    items: [1, 2]
    batch: 1
    concurrency: 1
    tolerate: 2
    on_error: continue
    do: [{id: no, type: probe, on_error: pause, retry: {attempts: 1}, with: {failures: 9}}]
  - {id: never, type: probe}
"""


async def test_an_abort_in_a_batch_ends_the_whole_run(real_time: Runner) -> None:
    handle = await real_time.start(real_time.start_of(ABORTING))
    found = await until(lambda: children(real_time, handle))
    child = real_time.client.get_workflow_handle(found[0][0])

    async def held() -> bool:
        state = await state_of(child)
        return "each[0].no" in state.steps and state.steps["each[0].no"].held

    await until(held)
    await child.execute_update("decide", {"path": "each[0].no", "action": "abort"})
    ended = await real_time.end(handle)
    assert ended.state.status == "failed"
    assert ended.state.error is not None
    assert ended.state.error.step == "each[0].no"
    assert ended.steps == {"a": "compensated", "each": "failed", "undo_a": "completed"}
