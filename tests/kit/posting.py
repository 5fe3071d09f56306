"""Publishing events from a test, as the API does: stored and matched first, then delivered."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from temporalio.client import Client, WorkflowHandle

from db import events
from db.base import now
from db.engine import Database
from db.ids import new_id
from schemas.events import EVENT_SIGNAL, NewEvent
from schemas.run import RunState
from tests.kit.running import state_of


@dataclass(frozen=True)
class Desk:
    """Where the events of one run come in; they are about `key` unless they say otherwise."""

    database: Database
    client: Client
    workspace: str
    key: str

    async def post(self, kind: str, data: Any = None, *, key: str | None = None) -> None:
        """Publish an event and signal it to the runs that wait for it."""
        event = NewEvent(
            id=new_id(), source="test", type=kind, key=key or self.key, data=data, time=now()
        )
        async with self.database.session() as session:
            told = await events.publish(session, self.workspace, event)
        for delivery in told.deliveries:
            handle = self.client.get_workflow_handle(delivery.workflow_id)
            await handle.signal(EVENT_SIGNAL, delivery.event)
        async with self.database.session() as session:
            await events.mark_delivered(session, told.deliveries)


async def until(
    handle: WorkflowHandle[Any, Any], holds: Callable[[RunState], bool], seconds: float = 60
) -> RunState:
    """Wait until a run's state is as wanted."""
    async with asyncio.timeout(seconds):
        while True:
            state = await state_of(handle)
            if holds(state):
                return state
            await asyncio.sleep(0.02)
