"""Straight stretches of inline steps: one local activity, and all else as without."""

from datetime import timedelta
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from temporalio.client import WorkflowHandle

from tests.kit import probes
from tests.kit.judging import judge
from tests.kit.running import Ended, Runner
from tests.kit.scenarios import INPUT, definition_text
from tests.kit.stretch_scenarios import STRETCHES, Scenario
from workflows.events import translate
from workflows.setup import DATA_CONVERTER


async def local_activities(handle: WorkflowHandle[Any, Any]) -> list[str]:
    """Give the types of the local activities in a run's history, in order."""
    kinds: list[str] = []
    async for event in handle.fetch_history_events():
        marker = event.marker_recorded_event_attributes
        if marker.marker_name == "core_local_activity":
            data = marker.details["data"].payloads[0]
            kinds.append(DATA_CONVERTER.payload_converter.from_payload(data)["activity_type"])
    return kinds


@pytest.mark.parametrize("scenario", STRETCHES, ids=lambda scenario: scenario.name)
async def test_scenario(scenario: Scenario, skipping: Runner, real_time: Runner) -> None:
    runner = real_time if scenario.real_time else skipping
    start = runner.start_of(definition_text(scenario), INPUT, history_limit=scenario.history_limit)
    # A long local activity tells the server of itself when most of the task's time is over: that
    # is when a cancel or a pause gets in.
    handle = await runner.client.start_workflow(
        start.definition.name,
        start,
        id=start.workflow_id,
        task_queue=runner.task_queue,
        task_timeout=timedelta(seconds=3) if scenario.real_time else None,
    )
    if scenario.act is not None:
        await scenario.act(handle)
    ended = await runner.end(handle)
    await judge(scenario, ended, runner)
    assert "stretch" in await local_activities(
        runner.client.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id)
    ) or scenario.name in ("stretch-cancel-first", "stretch-timeout")


async def _run(runner: Runner, text: str, given: dict[str, Any] | None = None) -> Ended:
    return await runner.end(await runner.start(runner.start_of(text, given)))


def _steps(count: int, more: str = "") -> str:
    return ", ".join(
        f"{{id: p{n}, type: probe, execution: inline, with: {{value: {n}}}{more}}}"
        for n in range(count)
    )


async def test_ten_inline_http_steps_are_one_local_activity(
    skipping: Runner, httpserver: HTTPServer
) -> None:
    httpserver.expect_request("/price").respond_with_json({"price": 3})
    call = "type: http, timeout: 5s, with: {url: '{{ input.url }}'}"
    steps = ", ".join(f"{{id: s{n}, {call}}}" for n in range(10))
    text = f"name: ten\nsteps: [{steps}]\noutput: '{{{{ steps.s9.output.body.price }}}}'"
    ended = await _run(skipping, text, {"url": httpserver.url_for("/price")})
    assert ended.state.output == 3
    assert await local_activities(ended.handle) == ["stretch", "record"]
    assert len(httpserver.log) == 10
    for name, step in ended.state.steps.items():
        assert (step.path, step.attempts, step.status) == (name, 1, "completed")
        assert step.started_at is not None
        assert step.finished_at is not None
        assert step.finished_at >= step.started_at


async def test_unsafe_calls_stay_queued(skipping: Runner, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/x").respond_with_json({})
    get = "type: http, timeout: 5s, with: {url: '{{ input.url }}'}"
    post = "type: http, timeout: 5s, with: {url: '{{ input.url }}', method: POST}"
    calls = {"a": get, "b": get, "c": post, "d": get}
    steps = ", ".join(f"{{id: {name}, {call}}}" for name, call in calls.items())
    text = f"name: mixed\nsteps: [{steps}]"
    ended = await _run(skipping, text, {"url": httpserver.url_for("/x")})
    assert ended.state.status == "completed"
    assert await local_activities(ended.handle) == ["stretch", "http", "record"]


async def test_an_earlier_interpreter_runs_them_one_by_one(skipping: Runner) -> None:
    start = skipping.start_of(f"name: old\nsteps: [{_steps(4)}]")
    handle = await skipping.start(start.model_copy(update={"revision": 7}))
    ended = await skipping.end(handle)
    assert ended.state.status == "completed"
    assert await local_activities(handle) == [*["probe"] * 4, "record"]


async def test_a_stretch_has_an_end(skipping: Runner) -> None:
    ended = await _run(skipping, f"name: long\nsteps: [{_steps(45)}]")
    assert await local_activities(ended.handle) == [*["stretch"] * 3, "record"]
    # A burst of inline steps ends its workflow task as without stretches.
    ended = await _run(skipping, f"name: longer\nsteps: [{_steps(70)}]")
    kinds = [
        event.activity_task_scheduled_event_attributes.activity_type.name
        async for event in ended.handle.fetch_history_events()
        if event.HasField("activity_task_scheduled_event_attributes")
    ]
    assert kinds == ["record"]


@pytest.mark.parametrize(
    ("more", "alone"),
    [
        (", if: 'true'", 3),
        (", savepoint: true", 3),
        (", compensate: [{id: u{n}, type: probe}]", 3),
        (", depends_on: []", 3),
    ],
)
async def test_what_needs_more_runs_alone(skipping: Runner, more: str, alone: int) -> None:
    steps = ", ".join(
        f"{{id: p{n}, type: probe, execution: inline{more.replace('{n}', str(n))}}}"
        for n in range(3)
    )
    ended = await _run(skipping, f"name: alone\nsteps: [{steps}]")
    assert ended.state.status == "completed"
    kinds = await local_activities(ended.handle)
    assert kinds.count("probe") == alone
    assert "stretch" not in kinds


async def test_events_and_records_name_every_step(real_time: Runner) -> None:
    ended = await _run(real_time, f"name: told\nsteps: [{_steps(3)}]")
    run_id = ended.handle.first_execution_run_id
    assert run_id is not None

    def handle(run: str) -> WorkflowHandle[Any, Any]:
        return real_time.client.get_workflow_handle(ended.handle.id, run_id=run or None)

    told = [
        (event.type, event.data["step"])
        async for event in translate(handle, run_id, None)
        if "step" in event.data
    ]
    assert told == [
        (kind, f"p{n}") for n in range(3) for kind in ("step_started", "step_completed")
    ]


async def test_attempts_count_from_the_stretch_on(skipping: Runner) -> None:
    text = (
        "name: tried\nsteps: [{id: a, type: probe, execution: inline}, "
        "{id: b, type: probe, execution: inline, retry: {attempts: 3, initial: 100ms}, "
        "with: {failures: 9}}]"
    )
    ended = await _run(skipping, text)
    assert ended.state.status == "failed"
    assert ended.state.steps["b"].attempts == 3
    run_id = ended.handle.id.rsplit("/", 1)[-1]
    assert [path for run, path in probes.calls if run == run_id] == ["a", "b", "b", "b"]
