"""The Temporal worker that runs the interpreter and the actions."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Literal

from temporalio.client import Client
from temporalio.worker import (
    PollerBehaviorAutoscaling,
    UnsandboxedWorkflowRunner,
    Worker,
)
from temporalio.worker.workflow_sandbox import (
    SandboxedWorkflowRunner,
    SandboxRestrictions,
)

from workflows.bulk import Bulk
from workflows.deployment import Deployment
from workflows.gate import Gate
from workflows.interpreter import Interpreter
from workflows.retention import Retention

# Models are built once for the process instead of once for each run; they do no I/O and keep no
# state but caches of parsed expressions. `workflows` itself stays inside the sandbox.
_PASSED_THROUGH = (
    "schemas",
    # Of the interceptor that carries traces.
    "opentelemetry",
    "pydantic",
    "pydantic_core",
    "jsonschema_rs",
    "re2",
    "yaml",
)

# Which tasks a worker takes. Replays of many runs at once, after a restart, then starve no
# activity, and activities that are busy starve no workflow.
Tasks = Literal["all", "workflow", "activity"]

MAX_WORKFLOW_TASKS = 20
# A cache that is smaller than what is being worked on throws runs out in the midst of their local
# activities, and the SDK then loses the answers: such a run times out task after task. Seen with
# 15 and fewer places for 20 tasks, not with 25.
MIN_CACHED_WORKFLOWS = 5 * MAX_WORKFLOW_TASKS


def sandbox() -> SandboxedWorkflowRunner:
    """Give the sandbox in which the interpreter runs."""
    restrictions = SandboxRestrictions.default.with_passthrough_modules(*_PASSED_THROUGH)
    return SandboxedWorkflowRunner(restrictions=restrictions)


def build_worker(
    client: Client,
    activities: Sequence[Callable[..., Any]],
    *,
    task_queue: str,
    max_cached_workflows: int = 1000,
    max_concurrent_activities: int = 100,
    graceful_shutdown: timedelta = timedelta(seconds=20),
    sticky_timeout: timedelta = timedelta(seconds=10),
    sandboxed: bool = True,
    on_fatal_error: Callable[[BaseException], Any] | None = None,
    deployment: Deployment | None = None,
    tasks: Tasks = "all",
) -> Worker:
    """Build a worker for the interpreter and the given activities; it does not run yet.

    The sandbox finds what must not stand in workflow code. There is only the interpreter's, which
    the tests run and replay inside it; a worker may do without and save much of its CPU time.
    Another worker takes up the runs in the cache of one that died after `sticky_timeout`.
    With a `deployment` it gets nothing until its build has been made the current one. One for
    `workflow` tasks also runs inline steps, which are parts of those.
    """
    return Worker(
        client,
        task_queue=task_queue,
        workflows=[] if tasks == "activity" else [Interpreter, Gate, Retention, Bulk],
        activities=activities,
        workflow_runner=sandbox() if sandboxed else UnsandboxedWorkflowRunner(),
        max_cached_workflows=max_cached_workflows,
        max_concurrent_activities=max_concurrent_activities,
        max_concurrent_workflow_tasks=MAX_WORKFLOW_TASKS,
        graceful_shutdown_timeout=graceful_shutdown,
        sticky_queue_schedule_to_start_timeout=sticky_timeout,
        workflow_task_poller_behavior=PollerBehaviorAutoscaling(minimum=2, initial=5, maximum=20),
        activity_task_poller_behavior=PollerBehaviorAutoscaling(minimum=2, initial=5, maximum=20),
        nonsticky_to_sticky_poll_ratio=0.5,
        no_remote_activities=tasks == "workflow",
        on_fatal_error=on_fatal_error,
        deployment_config=None if deployment is None else deployment.options,
    )
