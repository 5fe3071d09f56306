"""The worker of a chaos case: a process of its own, which ends itself where it is told to.

It holds nothing: each activity is a question over a socket, and what answers lives on elsewhere.
`python -m testing.crashing ADDRESS SOCKET QUEUE NAME...` forks a worker for each line it reads, so
that the next one is there at once.
"""

import asyncio
import itertools
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any

from temporalio import activity
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

from activities import stretch
from schemas.stretch import PlannedStep
from testing.server import quiet
from workflows.setup import connect
from workflows.worker_options import build_worker

CRASHED = 86  # the exit code of a process that was told to crash
MAX_LINE = 16 * 1024 * 1024  # bytes of a question or an answer
_WATCH = 0.005  # seconds between two looks at a run's history


def work(address: str, socket: str, queue: str, names: list[str]) -> None:
    """Run the worker until it is told to crash; the process's whole life.

    `names` are the activities that the socket answers.
    """
    logging.getLogger("temporalio").setLevel(logging.CRITICAL)
    asyncio.run(_work(address, socket, queue, names))


async def _work(address: str, socket: str, queue: str, names: list[str]) -> None:
    client = await connect(address, runtime=quiet())
    reader, writer = await asyncio.open_unix_connection(socket, limit=MAX_LINE)
    line = _Line(client, reader, writer)

    async def inline(step: PlannedStep, params: Any) -> Any:
        return await line.ask(step.type, [params, step.context])

    worker = build_worker(
        client,
        [*(_forward(line, name) for name in names), *stretch.build(inline)],
        task_queue=queue,
        # A run in its cache would wait for it after its death. Nothing else is in the way of it.
        max_cached_workflows=0,
        sandboxed=False,
    )
    async with worker:
        await line.listen()
    # Whoever started this process is gone.
    os._exit(1)


def _forward(line: "_Line", name: str) -> Callable[..., Any]:
    @activity.defn(name=name)
    async def forward(*args: Any) -> Any:
        return await line.ask(name, list(args))

    return forward


class _Line:
    """Questions and their answers, several at a time."""

    def __init__(
        self, client: Client, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._client = client
        self._reader = reader
        self._writer = writer
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._numbers = itertools.count(1)
        self._watches: list[asyncio.Task[None]] = []

    async def listen(self) -> None:
        """Hand out answers until the socket is closed."""
        while text := await self._reader.readline():
            answer = json.loads(text)
            self._waiting.pop(answer["number"]).set_result(answer)

    async def ask(self, name: str, args: list[Any]) -> Any:
        """Ask what an activity gives, and crash where the answer says so.

        Raises ApplicationError as the activity did.
        """
        info = activity.info()
        number = next(self._numbers)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        question = {
            "number": number,
            "name": name,
            "args": args,
            "activity_id": info.activity_id,
            "workflow_id": info.workflow_id,
            "workflow_run_id": info.workflow_run_id,
        }
        self._writer.write(json.dumps(question).encode() + b"\n")
        answer = await self._waiting[number]
        if answer["crash"] in ("before", "effect"):
            os._exit(CRASHED)
        if answer["crash"] == "after":
            self._watches.append(asyncio.create_task(self._crash_once_kept(info)))
        if (error := answer["error"]) is not None:
            delay = error["delay"]
            raise ApplicationError(
                error["message"],
                *error["details"],
                type=error["type"],
                non_retryable=error["final"],
                next_retry_delay=None if delay is None else timedelta(seconds=delay),
            )
        return answer["result"]

    async def _crash_once_kept(self, info: activity.Info) -> None:
        """Crash as soon as the run's history holds what this activity came to."""
        handle = self._client.get_workflow_handle(
            info.workflow_id or "", run_id=info.workflow_run_id
        )
        while True:
            try:
                history = await handle.fetch_history()
            except RPCError:
                os._exit(CRASHED)
            if info.activity_id in set(_kept(history.events)):
                os._exit(CRASHED)
            await asyncio.sleep(_WATCH)


def _kept(events: Iterable[HistoryEvent]) -> Iterator[str]:
    """Give the ids of the activities whose results are in a history."""
    scheduled: dict[int, str] = {}
    for event in events:
        if event.HasField("activity_task_scheduled_event_attributes"):
            about = event.activity_task_scheduled_event_attributes
            scheduled[event.event_id] = about.activity_id
        elif event.HasField("activity_task_completed_event_attributes"):
            yield scheduled[event.activity_task_completed_event_attributes.scheduled_event_id]
        elif event.HasField("activity_task_failed_event_attributes"):
            yield scheduled[event.activity_task_failed_event_attributes.scheduled_event_id]
        elif event.HasField("marker_recorded_event_attributes"):
            for payload in event.marker_recorded_event_attributes.details["data"].payloads:
                yield json.loads(payload.data).get("activity_id", "")


def main() -> None:
    """Fork a worker for each line, until there are no more."""
    address, socket, queue, *names = sys.argv[1:]
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while os.read(0, 1):
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.close(0)
            work(address, socket, queue, names)


if __name__ == "__main__":
    main()
