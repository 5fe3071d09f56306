"""The bench: one time-skipping server and one worker on which cases run one after the other."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio.api.testservice.v1 import (
    LockTimeSkippingRequest,
    UnlockTimeSkippingRequest,
)
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import TimeoutError as RunTimeoutError
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

from activities.registry import Registry
from schemas.actions import action_timeouts
from schemas.definition import Definition
from schemas.errors import SojournError
from schemas.run import REVISION, Lead, RunStart, RunState, RunStatus, StepRecord
from schemas.steps import ActionStep, SubRun
from schemas.steps_wait import Window
from schemas.validation import check_input
from schemas.windows import next_open
from testing import actions, verdicts
from testing.cases import Case
from testing.deliveries import Delivery, deliveries
from testing.loading import Template
from testing.outcome import Outcome
from testing.server import time_skipping
from testing.world import World
from workflows.worker_options import build_worker

QUEUE = "sojourn-testing"
WORKSPACE = "default"
REAL_SECONDS = 20.0
# While tasks are under way the server's clock goes at the pace of real time, else it jumps: after
# so much virtual time the run has come to rest.
_SETTLE = timedelta(seconds=1)
# How often a run is asked for its state, and for how long each time but the last.
_QUESTIONS = 3
_ONCE = timedelta(seconds=5)
_PATIENCE = timedelta(seconds=5)


class Bench:
    """Runs cases; at most one at a time."""

    def __init__(
        self,
        environment: WorkflowEnvironment,
        registry: Registry,
        *,
        task_timeout: timedelta | None = None,
    ) -> None:
        """Run on this server, with fakes of these actions.

        Once `broken` its clock may stand still, and a new bench is needed. `task_timeout` is the
        real time after which a dead worker's workflow task is given to another.
        """
        self._task_timeout = task_timeout
        # Whoever lets workers die says here when one is there to answer.
        self.ready: Callable[[], Awaitable[None]] = _at_once
        self._environment = environment
        self._registry = registry
        self._timeouts = action_timeouts(registry)
        self._world: World | None = None
        self.broken = False

    @classmethod
    @asynccontextmanager
    async def open(cls, registry: Registry) -> AsyncIterator["Bench"]:
        """Start server and worker; raises NoServerError."""
        async with time_skipping() as environment:
            bench = cls(environment, registry)
            async with build_worker(
                environment.client,
                bench.fakes(),
                task_queue=QUEUE,
                sandboxed=False,
                graceful_shutdown=timedelta(seconds=1),
            ):
                yield bench

    def fakes(self) -> list[Callable[..., Any]]:
        """Give the activities that a worker needs, over the world of the case that runs."""
        return [
            *actions.build(self._registry, lambda _: self.world()),
            *verdicts.build(self.world, self.hold),
        ]

    def world(self) -> World:
        """Give the world of the case that runs."""
        assert self._world is not None, "activities run while a case does"
        return self._world

    async def hold(self) -> None:
        """Stop the clock while the run can only be moved on from outside, and start it again.

        Called inside the run's own task, so that no virtual time passes in between: else a run
        that waits for ever would sit out the server's own limit of years.
        """
        world = self.world()
        if not world.final or world.held == world.stuck:
            return
        world.held = world.stuck
        service = self._environment.client.test_service
        if world.held:
            await service.lock_time_skipping(LockTimeSkippingRequest())
        else:
            await service.unlock_time_skipping(UnlockTimeSkippingRequest())

    async def release(self, world: World) -> None:
        """Let the clock go again after a standstill."""
        world.final = False
        if world.held:
            world.held = False
            service = self._environment.client.test_service
            await service.unlock_time_skipping(UnlockTimeSkippingRequest())

    async def run(
        self,
        definition: Definition,
        case: Case,
        *,
        templates: Mapping[str, Template] | None = None,
        run_id: str | None = None,
        real_seconds: float = REAL_SECONDS,
    ) -> Outcome:
        """Run a case to its end, or until nothing but the outside could move it on.

        What takes longer than `real_seconds` is ended and told as a problem.
        """
        began = time.monotonic()
        now = await self._moment(case)
        lead = Lead(**case.lead.model_dump()) if case.lead is not None else None
        world = World(definition, case, run_id or str(uuid.uuid4()), lead, now, templates)
        try:
            given = world.render(case.input)
            check_input(definition.input, given)
        except SojournError as error:
            outcome = Outcome(definition, case.name, RunStatus.FAILED)
            outcome.problems.append(error.message)
            return outcome
        self._world = world
        start = RunStart(
            run_id=world.run_id,
            workspace=WORKSPACE,
            definition=inlined(definition),
            version=1,
            input=given,
            lead=lead,
            timeouts=self._timeouts,
            revision=REVISION,
        )
        handle = await self._start(start)
        course = _Course(self._environment, world, handle, self.ready)
        try:
            async with asyncio.timeout(real_seconds):
                await course.follow(deliveries(case, self._environment.client))
        except TimeoutError:
            self.broken = True
            world.problems.append(f"the case took more than {real_seconds:g} s of real time")
        outcome = await course.outcome()
        await self.release(world)
        outcome.real = time.monotonic() - began
        return outcome

    async def _moment(self, case: Case) -> datetime:
        """Give the virtual time of the start: now, or the next one that the case asks for."""
        now = await self._environment.get_current_time()
        if case.begins is None:
            return now
        begins = case.begins
        # A window of a minute opens at that time of the week.
        hours, minutes = divmod(_minutes(begins.at) + 1, 60)
        closes = f"{hours:02}:{minutes:02}"
        window = Window.model_validate({"days": [begins.day], "from": begins.at, "to": closes})
        moment = next_open(window, begins.timezone, now)
        await self._environment.sleep(max(moment - now, timedelta(0)))
        return moment

    async def _start(self, start: RunStart) -> WorkflowHandle[Any, Any]:
        return await self._environment.client.start_workflow(
            start.definition.name,
            start,
            id=start.workflow_id,
            task_queue=QUEUE,
            execution_timeout=start.definition.limits.run_timeout,
            task_timeout=self._task_timeout,
        )


def inlined(definition: Definition) -> Definition:
    """Give a definition whose actions run inline, in the run's own tasks, but those at most once.

    The time-skipping server never answers for an activity that ends after its cancel request,
    and fakes that end at once do so whenever a branch beside them fails; inline ones it never
    sees. What limits an inline step is taken away: fakes take no time, and no queue. Nor does
    its clock go on once a run has ended before a run that it left behind; so that one is
    followed, whose mock ends at once.
    """
    copy = definition.model_copy(deep=True)
    for _, step in copy.walk():
        if isinstance(step, ActionStep) and step.once:
            # No inline step may be that; and when a worker dies with it, it shows soon.
            step.timeout, step.priority = _ONCE, None
        elif isinstance(step, ActionStep):
            step.execution, step.timeout, step.priority = "inline", None, None
        elif isinstance(step, SubRun) and step.mode == "detach":
            step.mode, step.depends = "wait", "parallel"
    return copy


async def _at_once() -> None:
    """Wait for nothing: the worker is this process's own."""


def _minutes(clock: str) -> int:
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)


class _Course:
    """One run of a case from its start to its end."""

    def __init__(
        self,
        environment: WorkflowEnvironment,
        world: World,
        handle: WorkflowHandle[Any, Any],
        ready: Callable[[], Awaitable[None]],
    ) -> None:
        self._ready = ready
        self._environment = environment
        self._world = world
        self._handle = handle
        self._timed_out = False
        self._began: datetime | None = None

    async def follow(self, timed: list[Delivery]) -> None:
        """Deliver everything at its time, then wait for the end or for a standstill."""
        now = self._began = await self._environment.get_current_time()
        for delivery in timed:
            pause = max(self._began + delivery.at - now, _SETTLE)
            await self._environment.sleep(pause)
            if self._world.problems:
                return
            now = await self._environment.get_current_time()
            await delivery.to(self._handle, self._world, now)
        await self._end()

    async def _end(self) -> None:
        await self._environment.sleep(_SETTLE)
        world = self._world
        world.final = world.definition.limits.run_timeout is None
        if world.final and world.stuck:
            return
        result = asyncio.create_task(self._wait())
        try:
            while not result.done() and not world.problems and not await self._stands_still():
                await asyncio.wait([result], timeout=0.02)
            if result.done():
                result.result()
        finally:
            if not result.done():
                result.cancel()
                with suppress(asyncio.CancelledError):
                    await result

    async def _wait(self) -> None:
        try:
            await self._handle.result()
        except WorkflowFailureError as error:
            self._timed_out = isinstance(error.cause, RunTimeoutError)

    async def _stands_still(self) -> bool:
        """True when the run waits and no timer of its own will ever wake it."""
        if not self._world.held:
            return False
        await self._state()
        await asyncio.sleep(0.01)
        return self._world.held

    async def _state(self) -> RunState:
        """Ask the run; the server never gives a question again that a dying worker has taken."""
        for _ in range(_QUESTIONS - 1):
            await self._ready()
            with suppress(RPCError):
                return await self._handle.query(
                    "state", result_type=RunState, rpc_timeout=_PATIENCE
                )
        await self._ready()
        return await self._handle.query("state", result_type=RunState)

    async def outcome(self) -> Outcome:
        """Read how it ended; a run that is open is ended."""
        world = self._world
        state = await self._state()
        description = await self._handle.describe()
        if description.close_time is None:
            with suppress(RPCError):
                await self._handle.terminate("the case is over")
        steps = _merged(world.steps, state)
        status, finish = state.status, description.close_time
        if self._timed_out and world.definition.limits.run_timeout is not None:
            status = RunStatus.TIMED_OUT
        elif not status.terminal:
            # A standstill, told by the clock, or by the server's own limit of ten years.
            finish = max(_moments(steps), default=None)
        began = self._began or state.started_at
        waiting = [step.note or step.id for step in state.steps.values() if step.note]
        return Outcome(
            definition=world.definition,
            name=world.case.name,
            status=status,
            output=state.output,
            error=state.error,
            steps=steps,
            verdicts=world.verdicts,
            faults=world.faults,
            timed_out=_timed_out(steps, world.deadlines),
            decisions=world.decisions,
            mails=world.mails,
            emitted=world.emitted,
            vars=state.vars,
            lead=world.lead,
            goal_reached=state.goal is not None,
            waits_for=None if status.terminal else "; ".join(waiting) or None,
            virtual=max((finish or began) - began, timedelta(0)),
            problems=world.problems,
            warnings=world.warnings,
        )


def _moments(steps: Mapping[str, StepRecord]) -> list[datetime]:
    moments = [moment for step in steps.values() for moment in (step.started_at, step.finished_at)]
    return [moment for moment in moments if moment is not None]


def _merged(projected: Mapping[str, StepRecord], state: RunState) -> dict[str, StepRecord]:
    """Give the steps in the order in which they began, with the newest state of each."""
    merged = dict(projected)
    for path, step in state.steps.items():
        newest = StepRecord.model_validate(step.model_dump(include=set(StepRecord.model_fields)))
        if newest.input is None and path in projected:
            # The run forgets a step's parameters once they are projected.
            newest.input = projected[path].input
        merged[path] = newest
    # A step that never began has no place; sorting is stable, so ties keep the records' order.
    never = datetime.max.replace(tzinfo=UTC)
    return dict(sorted(merged.items(), key=lambda entry: entry[1].started_at or never))


def _timed_out(steps: Mapping[str, StepRecord], deadlines: Mapping[str, datetime]) -> list[str]:
    """Give the paths of the steps that reached their deadline."""
    return [
        path
        for path, until in deadlines.items()
        if (step := steps.get(path)) is not None
        and step.finished_at is not None
        and step.finished_at >= until - timedelta(milliseconds=1)
    ]
