"""The interpreter without a server: the SDK's workflow instance, driven in virtual time.

What Temporal's server and core do is done here by a heap of callbacks: timers fire, activities are
tried and tried again after their backoff, signals, updates and cancels come at their times. As
with a server nothing but results of local activities reaches a run while one of them is under way.
How long activities take is drawn at random, so that what is simultaneous comes in many orders.
"""

import asyncio
import heapq
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from random import Random
from uuid import UUID

from temporalio.api.common.v1 import Payload, Payloads
from temporalio.bridge.proto.workflow_activation import (
    ResolveActivity,
    WorkflowActivation,
    WorkflowActivationJob,
)
from temporalio.bridge.proto.workflow_commands import WorkflowCommand
from temporalio.common import Priority, TypedSearchAttributes
from temporalio.worker import UnsandboxedWorkflowRunner
from temporalio.worker._workflow_instance import WorkflowInstance, WorkflowInstanceDetails
from temporalio.workflow import Info, _Definition

from schemas.run import RunStart, RunState
from tests.kit.probes import registry
from tests.kit.running import start_of
from tests.model.calls import Call
from tests.model.cases import Case
from tests.model.puppets import Played, Puppet, Puppets, name_of
from tests.model.story import Act
from workflows.interpreter import Interpreter
from workflows.setup import DATA_CONVERTER

_BEGIN = datetime(2030, 1, 1, tzinfo=UTC)
_CONVERTER = DATA_CONVERTER.payload_converter
# Powers of ten of seconds.
_LONGEST, _LONGEST_LOCAL = 1.0, -1.3
_ENDS = ("complete_workflow_execution", "fail_workflow_execution", "cancel_workflow_execution")
# Events of history for one workflow task.
_TASK_EVENTS = 3


class Stopped(Exception):
    """A run hangs, or the interpreter broke down in a workflow task."""


@dataclass
class _Execution:
    """One execution of a run, from its start or from continuing as new."""

    run_id: str
    instance: WorkflowInstance
    calls: dict[int, Call] = field(default_factory=dict)
    timers: set[int] = field(default_factory=set)
    waiting: list[WorkflowActivationJob] = field(default_factory=list)
    history: int = 1
    ended: bool = False

    @property
    def busy(self) -> bool:
        """Whether a local activity is under way, which holds the workflow task open."""
        return any(call.local and not call.done for call in self.calls.values())


class Core:
    """Plays cases, one after the other, each at once."""

    def __init__(self) -> None:
        """Know the interpreter and what it calls."""
        known = registry()
        self.puppets = Puppets(known)
        self.activities = {name_of(one): one for one in self.puppets.activities()}
        self.loop = asyncio.new_event_loop()
        self._catalogue = known

    def close(self) -> None:
        """Let go of the loop."""
        self.loop.close()

    def play(self, case: Case, until: float, seed: int) -> Played:
        """Play a case; acts after `until` (s, when the model ends) are left out.

        `seed` draws how long activities take. Raises Stopped.
        """
        start = start_of(
            self._catalogue,
            json.dumps(case.definition),
            case.given,
            history_limit=case.history_limit,
        )
        puppet = Puppet(start, [act for act in case.acts if act.at <= until])
        self.puppets.add(puppet)
        state = _Play(self, puppet, Random(seed)).run()
        return self.puppets.played(start.run_id, state)


class _Play:
    """One case under way: a heap of what is to come, and the execution that it comes to."""

    def __init__(self, core: Core, puppet: Puppet, random: Random) -> None:
        self._core = core
        self._puppet = puppet
        self._random = random
        self._now = 0.0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count(1)
        self._execution = self._begin(_CONVERTER.to_payloads([puppet.start]))

    def run(self) -> RunState:
        """Play to the end; gives the final state."""
        for act in self._puppet.acts:
            self._at(act.at, partial(self._act, act))
        while not self._execution.ended:
            if not self._heap:
                raise Stopped(f"hangs at {self._now:.0f} s")
            self._now, _, call = heapq.heappop(self._heap)
            call()
            self._deliver()
        found = self._state()
        self._evict()
        return found

    def _state(self) -> RunState:
        """Query the run's state."""
        job = WorkflowActivationJob()
        job.query_workflow.query_id = job.query_workflow.query_type = "state"
        completion = self._execution.instance.activate(self._activation([job]))
        answer = completion.successful.commands[0].respond_to_query.succeeded.response
        return _CONVERTER.from_payloads([answer], [RunState])[0]

    def _at(self, time: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (max(time, self._now), next(self._numbers), call))

    def _begin(self, arguments: Iterable[Payload]) -> "_Execution":
        """Start an execution; its first workflow task is due at once."""
        start = self._puppet.start
        run_id = str(UUID(int=self._random.getrandbits(128)))
        moment = _BEGIN + timedelta(seconds=self._now)
        details = WorkflowInstanceDetails(
            payload_converter_factory=DATA_CONVERTER._new_payload_converter,
            failure_converter_class=DATA_CONVERTER.failure_converter_class,
            interceptor_classes=[],
            defn=_Definition.must_from_class(Interpreter),
            info=_info(start, run_id, moment),
            randomness_seed=self._random.getrandbits(32),
            extern_functions={"__temporal_assert_local_activity_valid": self._known},
            disable_eager_activity_execution=True,
            worker_level_failure_exception_types=[],
            patch_activation_callback=None,
            last_completion_result=Payloads(),
            last_failure=None,
        )
        execution = _Execution(run_id, self._core.loop.run_until_complete(_created(details)))
        job = WorkflowActivationJob()
        job.initialize_workflow.workflow_type = start.definition.name
        job.initialize_workflow.workflow_id = start.workflow_id
        job.initialize_workflow.arguments.extend(arguments)
        job.initialize_workflow.attempt = 1
        execution.waiting.append(job)
        self._at(self._now, lambda: None)
        return execution

    def _known(self, name: str) -> None:
        """What a worker does for its runs: say whether it has an activity."""
        if name not in self._core.activities:
            raise KeyError(name)

    def _activation(self, jobs: Sequence[WorkflowActivationJob]) -> WorkflowActivation:
        execution = self._execution
        found = WorkflowActivation(run_id=execution.run_id, jobs=jobs)
        found.timestamp.FromDatetime(_BEGIN + timedelta(seconds=self._now))
        found.history_length = execution.history
        return found

    def _deliver(self) -> None:
        """Give the execution what has come, unless a local activity holds its task open."""
        execution = self._execution
        if execution.waiting and not execution.busy and not execution.ended:
            jobs, execution.waiting = execution.waiting, []
            execution.history += _TASK_EVENTS
            self._activate([job for job in jobs if self._counts(job)])

    def _counts(self, job: WorkflowActivationJob) -> bool:
        """Whether a job is still of interest: a timer may have been cancelled since it fired."""
        if not job.HasField("fire_timer"):
            return True
        counts = job.fire_timer.seq in self._execution.timers
        self._execution.timers.discard(job.fire_timer.seq)
        return counts

    def _activate(self, jobs: Sequence[WorkflowActivationJob]) -> None:
        execution = self._execution
        if not jobs:
            return
        completion = execution.instance.activate(self._activation(jobs))
        if completion.HasField("failed"):
            failure = completion.failed.failure
            raise Stopped(f"a workflow task failed: {failure.message}\n{failure.stack_trace}")
        execution.history += len(jobs) + len(completion.successful.commands)
        for command in completion.successful.commands:
            self._obey(execution, command)

    def _obey(self, execution: "_Execution", command: WorkflowCommand) -> None:
        match command.WhichOneof("variant"):
            case "start_timer":
                seq = command.start_timer.seq
                execution.timers.add(seq)
                after = command.start_timer.start_to_fire_timeout.ToNanoseconds() / 1e9
                self._at(self._now + after, partial(self._fire, execution, seq))
            case "cancel_timer":
                execution.timers.discard(command.cancel_timer.seq)
            case "schedule_activity":
                self._schedule(execution, Call(command.schedule_activity, local=False))
            case "schedule_local_activity":
                self._schedule(execution, Call(command.schedule_local_activity, local=True))
            case "request_cancel_activity":
                self._cancel(execution, execution.calls[command.request_cancel_activity.seq])
            case "request_cancel_local_activity":
                self._cancel(execution, execution.calls[command.request_cancel_local_activity.seq])
            case "continue_as_new_workflow_execution":
                self._evict()
                self._execution = self._begin(command.continue_as_new_workflow_execution.arguments)
                carried = [job for job in execution.waiting if _from_outside(job)]
                self._execution.waiting.extend(carried)
            case "upsert_workflow_search_attributes" | "update_response":
                pass
            case kind if kind in _ENDS:
                execution.ended = True
            case kind:
                raise Stopped(f"nobody here knows {kind}")

    def _evict(self) -> None:
        """End an execution's tasks, as a worker does with what leaves its cache."""
        self._execution.ended = True
        job = WorkflowActivationJob()
        job.remove_from_cache.message = "over"
        self._execution.instance.activate(self._activation([job]))

    def _fire(self, execution: "_Execution", seq: int) -> None:
        if seq in execution.timers and not execution.ended:
            job = WorkflowActivationJob()
            job.fire_timer.seq = seq
            execution.waiting.append(job)

    def _schedule(self, execution: "_Execution", call: Call) -> None:
        """Let an activity's attempt end after a moment; only there it is executed."""
        execution.calls[call.command.seq] = call
        longest = _LONGEST_LOCAL if call.local else _LONGEST
        after = 10 ** self._random.uniform(-3, longest)
        self._at(self._now + after, partial(self._try, execution, call))

    def _try(self, execution: "_Execution", call: Call) -> None:
        if call.done or execution.ended:
            return
        found = ResolveActivity(seq=call.command.seq, is_local=call.local)
        try:
            function = self._core.activities[call.command.activity_type]
            result = self._core.loop.run_until_complete(call.executed(function))
        except Exception as error:
            rest, failure = call.failed(error)
            if rest is not None:
                call.attempt += 1
                call.resting = True
                self._at(self._now + rest, partial(self._again, execution, call))
                return
            found.result.failed.failure.CopyFrom(failure)
        else:
            found.result.completed.result.CopyFrom(_CONVERTER.to_payloads([result])[0])
        self._resolve(execution, call, found)

    def _again(self, execution: "_Execution", call: Call) -> None:
        call.resting = False
        if not call.done:
            self._schedule(execution, call)

    def _cancel(self, execution: "_Execution", call: Call) -> None:
        """Cancel an activity: at once while it rests, or nobody waits for it, or it is local."""
        if call.done:
            return
        call.cancelled = True
        if call.resting or call.local or not call.waited_for:
            found = ResolveActivity(seq=call.command.seq, is_local=call.local)
            found.result.cancelled.failure.CopyFrom(call.cancellation())
            call.done = True
            # Not within the task that asked for it.
            self._at(self._now, partial(self._resolve, execution, call, found))

    def _resolve(self, execution: "_Execution", call: Call, found: ResolveActivity) -> None:
        if execution.ended:
            return
        call.done = True
        job = WorkflowActivationJob(resolve_activity=found)
        if call.local:
            self._activate([job])
        else:
            execution.waiting.append(job)

    def _act(self, act: Act) -> None:
        """Do to the run what comes from outside."""
        execution = self._execution
        job = WorkflowActivationJob()
        match act.kind:
            case "decide" | "respond":
                identity = f"update-{next(self._numbers)}"
                update = job.do_update
                update.id = update.protocol_instance_id = identity
                update.name, update.run_validator = act.kind, True
                update.input.extend(_CONVERTER.to_payloads([{"path": act.name, **act.data}]))
            case "event":
                event = self._puppet.event(act)
                if event is None:
                    return
                job.signal_workflow.signal_name = "sojourn.event"
                job.signal_workflow.input.extend(_CONVERTER.to_payloads([event]))
            case "cancel":
                job.cancel_workflow.reason = "the model's"
            case "signal":
                job.signal_workflow.signal_name = act.name
                job.signal_workflow.input.extend(_CONVERTER.to_payloads([act.data]))
            case kind:
                job.signal_workflow.signal_name = kind
        if act.kind not in ("decide", "respond", "cancel"):
            job.signal_workflow.originating_event_id = next(self._numbers)
        execution.waiting.append(job)


async def _created(details: WorkflowInstanceDetails) -> WorkflowInstance:
    """Create an instance, which wants a loop to run."""
    return UnsandboxedWorkflowRunner().create_instance(details)


def _from_outside(job: WorkflowActivationJob) -> bool:
    return job.WhichOneof("variant") in ("signal_workflow", "do_update", "cancel_workflow")


def _info(start: RunStart, run_id: str, moment: datetime) -> Info:
    return Info(
        attempt=1,
        continued_run_id=None,
        cron_schedule=None,
        execution_timeout=None,
        first_execution_run_id=run_id,
        headers={},
        namespace="default",
        original_execution_run_id=run_id,
        parent=None,
        root=None,
        priority=Priority.default,
        raw_memo={},
        retry_policy=None,
        run_id=run_id,
        run_timeout=None,
        search_attributes={},
        start_time=moment,
        task_queue="core",
        task_timeout=timedelta(seconds=10),
        typed_search_attributes=TypedSearchAttributes([]),
        workflow_id=start.workflow_id,
        workflow_start_time=moment,
        workflow_type=start.definition.name,
    )
