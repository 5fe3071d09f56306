"""The stage of chaos cases: a bench whose worker is a process that crashes and comes back."""

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.agent import TURN
from activities.registry import Registry
from schemas.actions import StepContext
from schemas.errors import ErrorCode
from testing.bench import QUEUE, Bench
from testing.cases import Case
from testing.crash_points import Call, Plan, Point
from testing.crashing import MAX_LINE
from testing.loading import Suite
from testing.outcome import Outcome
from testing.server import time_skipping
from testing.verdicts import activity_name

# Real seconds: a case with its crashes, a dead worker's task, the death and the start of a worker.
_CASE = 90.0
_TASK = timedelta(seconds=1)
_DEATH = 60.0


# What the ledger says of an effect that was begun and of which nothing is known.
_IN_DOUBT: dict[str, Any] = {
    "error": {
        "message": "nobody knows whether the step took effect",
        "details": [],
        "type": ErrorCode.DELIVERY_UNKNOWN.value,
        "final": True,
        "delay": None,
    }
}


@dataclass(frozen=True)
class Trial:
    """One run of a case, with the calls that the fakes saw and the crashes there were."""

    outcome: Outcome
    plan: Plan
    run_id: str


class Stage:
    """Runs cases with crashes, one at a time."""

    def __init__(self, bench: Bench, client: Client, actions: set[str]) -> None:
        """Answer the workers' activities with the bench's fakes."""
        self.bench = bench
        self._client = client
        self._actions = actions
        self._fakes = {activity_name(fake): fake for fake in bench.fakes()}
        self._plan = Plan()
        self._idle = asyncio.Event()  # a worker is there, and none is about to die
        self._told = False
        self._forker: asyncio.subprocess.Process | None = None
        self._talks: dict[asyncio.StreamWriter, asyncio.Task[Any] | None] = {}
        bench.ready = self._ready

    @classmethod
    @asynccontextmanager
    async def open(cls, registry: Registry) -> AsyncIterator["Stage"]:
        """Start a server and the first worker; raises NoServerError."""
        async with time_skipping() as environment:
            bench = Bench(environment, registry, task_timeout=_TASK)
            stage = cls(bench, environment.client, {*registry.specs(), TURN.name})
            address = environment.client.service_client.config.target_host
            with tempfile.TemporaryDirectory() as folder:
                async with stage._workers(address, str(Path(folder) / "desk")):
                    yield stage

    @asynccontextmanager
    async def _workers(self, address: str, socket: str) -> AsyncIterator[None]:
        server = await asyncio.start_unix_server(self._serve, socket, limit=MAX_LINE)
        names = [name for name in self._fakes if name != "stretch"]
        self._forker = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "testing.crashing",
            address,
            socket,
            QUEUE,
            *names,
            stdin=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            self._fork()
            await self._ready()
            yield
        finally:
            forker, self._forker = self._forker, None
            if forker.stdin is not None:
                forker.stdin.close()
            server.close()
            talks = list(self._talks.items())
            for writer, _ in talks:
                writer.close()
            await asyncio.gather(*(task for _, task in talks if task is not None))
            await forker.wait()

    def _fork(self) -> None:
        if self._forker is not None and self._forker.stdin is not None:
            self._forker.stdin.write(b"\n")

    async def run(self, suite: Suite, case: Case, points: list[Point], run_id: str) -> Trial:
        """Run a case with a crash at each of these points."""
        plan = self._plan = Plan(list(points))
        outcome = await self.bench.run(
            suite.definition, case, templates=suite.templates, run_id=run_id, real_seconds=_CASE
        )
        await self._ready()
        return Trial(outcome, plan, run_id)

    async def _ready(self) -> None:
        """Wait until every worker that was told to crash has done so, and another is there."""
        await asyncio.wait_for(self._idle.wait(), _DEATH)

    # -- the workers' questions --------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one worker until its death, and ask for the next one."""
        self._idle.set()
        self._talks[writer] = asyncio.current_task()
        answers: set[asyncio.Task[None]] = set()
        with suppress(ConnectionError):
            while text := await reader.readline():
                task = asyncio.create_task(self._answer(json.loads(text), writer))
                answers.add(task)
                task.add_done_callback(answers.discard)
        self._idle.clear()
        if self._forker is not None:
            if not self._told:
                self.bench.world().problems.append("the worker ended without being told to")
            self._told = False
            self._fork()
        del self._talks[writer]
        writer.close()

    async def _answer(self, question: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        name, args = question["name"], question["args"]
        path, step = question["activity_id"], None
        if name in self._actions:
            step = StepContext.model_validate(args[1])
            path = step.path
        plan = self._plan
        crash = plan.arrive(name, path)
        if crash is not None:
            self._told = True
            self._idle.clear()
        answer = {"number": question["number"], "crash": crash, "result": None, "error": None}
        if step is not None and step.once and step.key in plan.once:
            # The ledger of effects knows it: what it came to, or that nobody knows that.
            answer |= _IN_DOUBT if step.key in plan.parked else plan.once[step.key]
        elif crash != "before":
            asked = None if step is None else args[0]
            plan.calls.append(Call(name, path, None if step is None else step.key, asked))
            answer |= await self._outcome(question)
            if step is not None and step.once:
                plan.once[step.key] = {name: answer[name] for name in ("result", "error")}
                if crash == "effect":
                    plan.parked.add(step.key)
        with suppress(ConnectionError):
            writer.write(json.dumps(answer).encode() + b"\n")

    async def _outcome(self, question: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"result": to_jsonable_python(await self._perform(question))}
        except ApplicationError as error:
            return {"error": _error(error)}

    async def _perform(self, question: dict[str, Any]) -> Any:
        environment = ActivityEnvironment(client=self._client)
        environment.info = replace(
            ActivityEnvironment.default_info(),
            activity_id=question["activity_id"],
            workflow_id=question["workflow_id"],
            workflow_run_id=question["workflow_run_id"],
        )
        return await environment.run(self._fakes[question["name"]], *question["args"])


def _error(error: ApplicationError) -> dict[str, Any]:
    delay = error.next_retry_delay
    return {
        "message": error.message,
        "details": to_jsonable_python(list(error.details)),
        "type": error.type,
        "final": error.non_retryable,
        "delay": None if delay is None else delay.total_seconds(),
    }
