"""How much Temporal's task queue holds, and who takes from it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest, DescribeTaskQueueResponse
from temporalio.client import Client

# A poll takes a minute at most. Temporal names a poller for five, though its worker was killed.
_POLL_FRESH = timedelta(seconds=75)
_TYPES: tuple[tuple[Literal["workflow", "activity"], TaskQueueType.ValueType], ...] = (
    ("workflow", TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW),
    ("activity", TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY),
)


@dataclass(frozen=True)
class Backlog:
    """Tasks of one kind that no worker has taken yet, as Temporal estimates them.

    `age` is that of the oldest, in seconds; the rates are tasks a second over the last 30 s.
    Workflow tasks of runs that a worker has in its cache go past the queue and are not counted.
    `pollers` have asked for tasks in the last 75 s.
    """

    kind: Literal["workflow", "activity"]
    tasks: int
    age: float
    add_rate: float
    dispatch_rate: float
    pollers: int


async def backlogs(
    client: Client, task_queue: str, within: Callable[[Awaitable[Any]], Awaitable[Any]]
) -> list[Backlog]:
    """Ask Temporal, which keeps these figures from version 1.25 on; raises what `within` does."""
    found: list[Backlog] = []
    for kind, value in _TYPES:
        request = DescribeTaskQueueRequest(
            namespace=client.namespace,
            task_queue=TaskQueue(name=task_queue),
            task_queue_type=value,
            report_stats=True,
        )
        answer = await within(client.workflow_service.describe_task_queue(request))
        stats = answer.stats
        found.append(
            Backlog(
                kind=kind,
                tasks=stats.approximate_backlog_count,
                age=stats.approximate_backlog_age.ToTimedelta().total_seconds(),
                add_rate=stats.tasks_add_rate,
                dispatch_rate=stats.tasks_dispatch_rate,
                pollers=fresh_pollers(answer),
            )
        )
    return found


def fresh_pollers(answer: DescribeTaskQueueResponse) -> int:
    """Count those who have polled lately."""
    oldest = datetime.now(UTC) - _POLL_FRESH
    return sum(each.last_access_time.ToDatetime(UTC) >= oldest for each in answer.pollers)
