"""Playing cases on the time-skipping server, with the real interpreter.

Time is unlocked once for all: it skips whenever no task of any run is under way, so that runs play
side by side. What is done to a run from outside is done by activities of a workflow beside it, so
that it happens at its virtual time exactly.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
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

from dev.temporal import find_program
from tests.kit.probes import registry
from tests.kit.running import Runner, state_of
from tests.model.cases import Case
from tests.model.puppets import Played, Puppet, Puppets
from tests.model.story import Act
from workflows.setup import DATA_CONVERTER, prepare_namespace
from workflows.worker_options import build_worker

_QUEUE, _PUPPETEERS, _PULLS = "model", "model-puppeteers", "pull-"
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


class Player:
    """Plays cases on one server."""

    def __init__(self, client: Client) -> None:
        """Play through a client that does not touch the server's time."""
        self._client = client
        known = registry()
        self.puppets = Puppets(known)
        self.runner = Runner(client, _QUEUE, known)

    @activity.defn(name="pull")
    async def pull(self, number: int) -> None:
        """Do one act."""
        workflow_id = activity.info().workflow_id
        assert workflow_id is not None, "a workflow pulls"
        puppet = self.puppets.of(workflow_id.removeprefix(_PULLS))
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
        puppet = Puppet(start, acts)
        name = f"{_PULLS}{start.run_id}"
        self.puppets.add(puppet)
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
        return self.puppets.played(start.run_id, state)


async def _act(puppet: Puppet, handle: WorkflowHandle[Any, Any], act: Act) -> None:
    match act.kind:
        case "decide" | "respond":
            await handle.execute_update(act.kind, {"path": act.name, **act.data})
        case "event":
            # As the API does it: stored first, then told to who has asked.
            if (event := puppet.event(act)) is not None:
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
        runs = build_worker(
            client, player.puppets.activities(), task_queue=_QUEUE, sandboxed=sandboxed
        )
        strings = Worker(
            client, task_queue=_PUPPETEERS, workflows=[Puppeteer], activities=[player.pull]
        )
        async with runs, strings:
            yield player
