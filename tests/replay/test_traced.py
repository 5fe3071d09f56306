"""Histories replay with the interceptor that carries traces, whether they were traced or not."""

from collections.abc import AsyncIterator

import pytest
from opentelemetry.sdk.trace import TracerProvider
from temporalio.client import WorkflowHistory
from temporalio.contrib.opentelemetry import TracingInterceptor
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, WorkflowRunner

from tests.kit.histories import read, recorded
from workflows.interpreter import Interpreter
from workflows.setup import DATA_CONVERTER
from workflows.worker_options import sandbox


@pytest.mark.parametrize(
    ("runner", "each"),
    [(UnsandboxedWorkflowRunner(), 4), (sandbox(), 40)],
    ids=["as workers run them", "sandboxed"],
)
async def test_histories_replay_traced(runner: WorkflowRunner, each: int) -> None:
    chosen = recorded()[::each]
    assert chosen

    async def histories() -> AsyncIterator[WorkflowHistory]:
        for path in chosen:
            yield read(path)

    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("replay")
    replayer = Replayer(
        workflows=[Interpreter],
        workflow_runner=runner,
        data_converter=DATA_CONVERTER,
        interceptors=[TracingInterceptor(tracer, always_create_workflow_spans=True)],
    )
    results = await replayer.replay_workflows(histories(), raise_on_replay_failure=False)
    assert not results.replay_failures
