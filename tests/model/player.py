"""Playing cases on the time-skipping server, with the real interpreter.

Time is unlocked once for all: it skips whenever no task of any run is under way, so that runs play
side by side. What is done to a run from outside is done by activities of a workflow beside it, so
that it happens at its virtual time exactly.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.api.testservice.v1 import UnlockTimeSkippingRequest
from temporalio.client import (
    Client,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
)
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.registry import Registry
from activities.services import Services
from dev.temporal import find_program
from schemas.run import Event, RunStart, RunState
from tests.kit.probes import registry
from tests.kit.running import Runner, state_of
from tests.model.cases import Case
from tests.model.story import Act
from workflows.setup import DATA_CONVERTER, prepare_namespace
from workflows.worker_options import build_worker

_QUEUE, _PUPPETEERS = "model", "model-puppeteers"
# Activities that the player answers itself.
_OWN = ("record", "subscribe")
# Of real time, for a run that hangs.
_DEADLINE = 60


@workflow.defn(name="sojourn.puppeteer", sandboxed=False)
class Puppeteer:
    """Starts a run and does things to it at their times."""

    @workflow.run
    async def run(self, times: list[float]) -> None:
        """Do the acts at these seconds, the first of which is the start."""
        now = 0.0
        for number, time in enumerate(times):
            if time > now:
                await workflow.sleep(time - now)
            now = time
            await workflow.execute_activity(
                "pull", number, start_to_close_timeout=timedelta(seconds=20)
            )


@dataclass
class _Puppet:
    start: RunStart
    acts: list[Act]
    handle: WorkflowHandle[Any, Any] | None = None
    # The store of events: those that came, and what the run asked for.
    events: list[Event] = field(default_factory=list)
    topics: set[tuple[str, str]] = field(default_factory=set)


@dataclass
class Played:
    """How a run went: its final state, and every step's record, also of iterations long past."""

    state: RunState
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    status: str = ""


class Player:
    """Plays cases on one server."""

    def __init__(self, client: Client) -> None:
        """Play through a client that does not touch the server's time."""
        self._client = client
        self._puppets: dict[str, _Puppet] = {}
        self._projections: dict[str, list[dict[str, Any]]] = {}
        self._registry = registry()
        self.runner = Runner(client, _QUEUE, self._registry)

    def activities(self) -> Sequence[Callable[..., Any]]:
        """Give what the interpreter calls: the probe, verdicts, and a projection kept here."""

        @activity.defn(name="record")
        async def record(projection: dict[str, Any]) -> None:
            self._projections.setdefault(projection["run_id"], []).append(projection)

        @activity.defn(name="subscribe")
        async def subscribe(request: dict[str, Any]) -> list[dict[str, Any]]:
            puppet = self._puppets[f"pull-{request['run_id']}"]
            topic = (request["type"], request["key"])
            puppet.topics.add(topic)
            return [
                event.model_dump(mode="json")
                for event in puppet.events
                if (event.type, event.key) == topic and (event.seq or 0) > request["after"]
            ]

        services = Services()
        probe = Registry([self._registry.get("probe")]).activities(services)
        return [*(one for one in probe if _name(one) not in _OWN), record, subscribe]

    @activity.defn(name="pull")
    async def pull(self, number: int) -> None:
        """Do one act."""
        workflow_id = activity.info().workflow_id
        assert workflow_id is not None, "a workflow pulls"
        puppet = self._puppets[workflow_id]
        if number == 0:
            puppet.handle = await self.runner.start(puppet.start)
            return
        assert puppet.handle is not None, "started first"
        try:
            await _act(puppet, puppet.handle, puppet.acts[number - 1])
        except WorkflowUpdateFailedError:
            # Refused; the run unwinds, say. That too is for the comparison to say.
            return
        except RPCError as error:
            # The run has ended; whether too early is for the comparison to say.
            if error.status != RPCStatusCode.NOT_FOUND:
                raise

    async def play(self, case: Case, until: float) -> Played:
        """Play a case; acts after `until` (s, when the model ends) are left out."""
        start = self.runner.start_of(
            json.dumps(case.definition), case.given, history_limit=case.history_limit
        )
        acts = [act for act in case.acts if act.at <= until]
        puppet = _Puppet(start, acts)
        name = f"pull-{start.run_id}"
        self._puppets[name] = puppet
        times = [0.0, *(act.at for act in acts)]
        async with asyncio.timeout(_DEADLINE):
            strings = await self._client.start_workflow(
                Puppeteer.run, times, id=name, task_queue=_PUPPETEERS
            )
            await strings.result()
            assert puppet.handle is not None, "the first act started it"
            with suppress(WorkflowFailureError):  # the state tells how it ended
                await puppet.handle.result()
            state = await state_of(puppet.handle)
        return self._played(start.run_id, state)

    def _played(self, run_id: str, state: RunState) -> Played:
        played = Played(state)
        for projection in sorted(self._projections.pop(run_id), key=lambda one: one["seq"]):
            played.status = projection["status"]
            for record in projection.get("steps", ()):
                played.records[record["path"]] = record
        return played


def _name(function: Any) -> str:
    return activity._Definition.must_from_callable(function).name or ""


async def _act(puppet: _Puppet, handle: WorkflowHandle[Any, Any], act: Act) -> None:
    match act.kind:
        case "decide" | "respond":
            await handle.execute_update(act.kind, {"path": act.name, **act.data})
        case "event":
            # As the API does it: stored first, then told to who has asked.
            seq = len(puppet.events) + 1
            event = Event(id=f"e{seq}", source="model", type=act.name, seq=seq, **act.data)
            puppet.events.append(event)
            if (event.type, event.key) in puppet.topics:
                await handle.signal("sojourn.event", event)
        case "cancel":
            await handle.cancel()
        case "signal":
            await handle.signal(act.name, act.data)
        case kind:
            await handle.signal(kind)


@asynccontextmanager
async def playing(*, sandboxed: bool = False) -> AsyncIterator[Player]:
    """A player on a server of its own."""
    async with await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=find_program("temporal-test-server"),
        data_converter=DATA_CONVERTER,
    ) as environment:
        await prepare_namespace(environment.client)
        await environment.client.test_service.unlock_time_skipping(UnlockTimeSkippingRequest())
        # The environment's own client would lock and unlock the time with every result.
        target = environment.client.service_client.config.target_host
        client = await Client.connect(target, data_converter=DATA_CONVERTER)
        player = Player(client)
        runs = build_worker(client, player.activities(), task_queue=_QUEUE, sandboxed=sandboxed)
        strings = Worker(
            client, task_queue=_PUPPETEERS, workflows=[Puppeteer], activities=[player.pull]
        )
        async with runs, strings:
            yield player
