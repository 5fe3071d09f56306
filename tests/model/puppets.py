"""Runs that are played: what was asked of them from outside, and what the interpreter calls."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from temporalio import activity

from activities.registry import Registry
from activities.services import Services
from schemas.run import Event, RunStart, RunState
from tests.model.story import Act, Raw

# Activities that the puppets answer themselves.
_OWN = ("record", "subscribe")


@dataclass
class Puppet:
    """One run with what is done to it."""

    start: RunStart
    acts: list[Act]
    handle: Any = None
    # The store of events: those that came, and what the run asked for.
    events: list[Event] = field(default_factory=list)
    topics: set[tuple[str, str]] = field(default_factory=set)

    def event(self, act: Act) -> Event | None:
        """Store an event, as the API does it; gives it if the run has asked for it."""
        seq = len(self.events) + 1
        event = Event(id=f"e{seq}", source="model", type=act.name, seq=seq, **act.data)
        self.events.append(event)
        return event if (event.type, event.key) in self.topics else None


@dataclass
class Played:
    """How a run went: its final state, and every step's record, also of iterations long past."""

    state: RunState
    records: dict[str, Raw] = field(default_factory=dict)
    status: str = ""


class Puppets:
    """Runs by their ids."""

    def __init__(self, registry: Registry) -> None:
        """Begin with none."""
        self._registry = registry
        self._puppets: dict[str, Puppet] = {}
        self._projections: dict[str, list[Raw]] = {}

    def add(self, puppet: Puppet) -> None:
        """Know a run."""
        self._puppets[puppet.start.run_id] = puppet

    def of(self, run_id: str) -> Puppet:
        """Give a run."""
        return self._puppets[run_id]

    def activities(self) -> Sequence[Callable[..., Any]]:
        """Give what the interpreter calls: the probe, verdicts, and a projection kept here."""

        @activity.defn(name="record")
        async def record(projection: Raw) -> None:
            self._projections.setdefault(projection["run_id"], []).append(projection)

        @activity.defn(name="subscribe")
        async def subscribe(request: Raw) -> list[Raw]:
            puppet = self._puppets[request["run_id"]]
            topic = (request["type"], request["key"])
            puppet.topics.add(topic)
            return [
                event.model_dump(mode="json")
                for event in puppet.events
                if (event.type, event.key) == topic and (event.seq or 0) > request["after"]
            ]

        probe = Registry([self._registry.get("probe")]).activities(Services())
        return [*(one for one in probe if name_of(one) not in _OWN), record, subscribe]

    def played(self, run_id: str, state: RunState) -> Played:
        """Tell how a run went, and forget it."""
        del self._puppets[run_id]
        played = Played(state)
        for projection in sorted(self._projections.pop(run_id), key=lambda one: one["seq"]):
            played.status = projection["status"]
            for record in projection.get("steps", ()):
                played.records[record["path"]] = record
        return played


def name_of(function: Any) -> str:
    """Give an activity's name."""
    return activity._Definition.must_from_callable(function).name or ""
