"""What reaches a run from outside at its virtual time: events, signals, answers, operators."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from temporalio.client import Client, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.service import RPCError, RPCStatusCode

from schemas.durations import format_duration
from schemas.operations import Decide, Respond, Rewind, SetVars
from schemas.run import Event
from testing.cases import AnswerAt, Case, EventAt, OperatorAt, SignalAt
from testing.world import World

EVENT_SIGNAL = "sojourn.event"
Handle = WorkflowHandle[Any, Any]


@dataclass(frozen=True)
class Delivery:
    """One thing to deliver, `at` so long after the run's start."""

    at: timedelta
    what: str
    send: Callable[[Handle, World, datetime], Awaitable[None]]

    async def to(self, handle: Handle, world: World, now: datetime) -> None:
        """Deliver it; what cannot be delivered is a problem of the case."""
        where = f"{self.what} at {format_duration(self.at)}"
        try:
            await self.send(handle, world, now)
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            world.problems.append(f"{where}: the run had ended before")
        except WorkflowUpdateFailedError as error:
            world.problems.append(f"{where} is refused: {error.cause}")


def deliveries(case: Case, client: Client) -> list[Delivery]:
    """Give all of a case's deliveries by their time; at the same time as they are written."""
    timed = [
        *(_event(event, client) for event in case.events),
        *(_signal(signal) for signal in case.signals),
        *(_answer(answer) for answer in case.answers),
        *(_order(order) for order in case.operators),
    ]
    return sorted(timed, key=lambda delivery: delivery.at)


async def tell(client: Client, told: list[tuple[str, Event]]) -> None:
    """Signal events to the runs that asked for them; one that has ended needs none."""
    for workflow_id, event in told:
        try:
            await client.get_workflow_handle(workflow_id).signal(EVENT_SIGNAL, event)
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise


def _event(given: EventAt, client: Client) -> Delivery:
    async def send(handle: Handle, world: World, now: datetime) -> None:
        del handle
        await tell(client, world.publish(given.type, given.key, given.data, now))

    return Delivery(given.at, f"the event {given.type!r}", send)


def _signal(given: SignalAt) -> Delivery:
    async def send(handle: Handle, world: World, now: datetime) -> None:
        del world, now
        await handle.signal(given.name, given.data)

    return Delivery(given.at, f"the signal {given.name!r}", send)


def _answer(given: AnswerAt) -> Delivery:
    async def send(handle: Handle, world: World, now: datetime) -> None:
        del now
        order = Respond(path=given.step, decision=given.decision, data=given.data, by=given.by)
        await handle.execute_update("respond", order)
        world.decisions.setdefault(given.step, []).append(given.decision)

    return Delivery(given.at, f"the answer of {given.by!r} to {given.step!r}", send)


def _order(given: OperatorAt) -> Delivery:
    async def send(handle: Handle, world: World, now: datetime) -> None:
        del world, now
        match given.action:
            case "pause" | "resume":
                await handle.signal(given.action)
            case "cancel":
                await handle.cancel()
            case "set_vars":
                await handle.execute_update("set_vars", SetVars(vars=given.vars or {}, by=given.by))
            case "rewind":
                await handle.execute_update("rewind", Rewind(path=given.step or "", by=given.by))
            case "retry" | "skip" | "abort":
                order = Decide(
                    path=given.step or "",
                    action=given.action,
                    input=given.input,
                    output=given.output,
                    by=given.by,
                )
                await handle.execute_update("decide", order)

    return Delivery(given.at, f"the operator's {given.action!r}", send)
