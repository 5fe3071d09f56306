"""The inbox of a run: events that came and that no step has taken.

They come by signal, each on its own, or from the store in pages, in the order of receipt. A page
tells up to which place everything of a type and key was received, so that an event that comes
both ways, or twice, counts once.
"""

from collections.abc import Callable

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from schemas.events import data_bytes
    from schemas.run import MAX_EVENTS, Event, RunState

# What continue-as-new carries has a limit; a page and one large event always fit.
_MAX_BYTES = 512 * 1024


class Inbox:
    """Keeps a run's events in its state; a wanted event is never displaced by another."""

    def __init__(self, state: RunState) -> None:
        """Keep the events of `state`."""
        self._state = state
        self._bytes = sum(data_bytes(event.data) for event in state.inbox)
        self._told = False
        self._wanted: list[Callable[[Event], bool]] = []
        # Told of each event that comes, before any step can take it.
        self.observers: list[Callable[[Event], None]] = []
        # Topics of which an event found no room: those who read them must ask the store again.
        self.missed: set[str] = set()

    def wanting(self, wants: Callable[[Event], bool]) -> None:
        """Note a reader: the events that it wants stay until `done`."""
        self._wanted.append(wants)

    def done(self, wants: Callable[[Event], bool]) -> None:
        """Forget a reader."""
        self._wanted.remove(wants)

    def receive(self, event: Event) -> None:
        """Keep an event that was signalled, unless the run knows it."""
        if self._heard(event) or self._holds(event):
            return
        if not self._keep(event):
            self.missed.add(topic(event.type, event.key))

    def receive_page(self, page: list[Event]) -> int:
        """Keep a page of stored events; gives how many, from its beginning, are known now."""
        for index, event in enumerate(page):
            if not self._holds(event) and not self._keep(event):
                return index
            if event.seq is not None:
                self._state.heard[topic(event.type, event.key)] = event.seq
                # From now on its place tells that it is known.
                if name(event) in self._state.taken:
                    self._state.taken.remove(name(event))
        return len(page)

    def first(self, wants: Callable[[Event], bool]) -> Event | None:
        """Give the oldest event that is wanted."""
        return next((event for event in self._state.inbox if wants(event)), None)

    def take(self, event: Event) -> None:
        """Take an event out: no step gets it any more."""
        self._state.inbox.remove(event)
        self._bytes -= data_bytes(event.data)
        if not self._heard(event):
            self._state.taken.append(name(event))

    def put_back(self, event: Event) -> None:
        """Undo `take`, for an event that was not what the step waits for."""
        if name(event) in self._state.taken:
            self._state.taken.remove(name(event))
        self._insert(event)

    def _heard(self, event: Event) -> bool:
        heard = self._state.heard.get(topic(event.type, event.key), 0)
        return event.seq is not None and event.seq <= heard

    def _holds(self, event: Event) -> bool:
        this = name(event)
        return this in self._state.taken or any(this == name(held) for held in self._state.inbox)

    def _keep(self, event: Event) -> bool:
        size = data_bytes(event.data)
        inbox = self._state.inbox
        while inbox and (len(inbox) >= MAX_EVENTS or self._bytes + size > _MAX_BYTES):
            spare = self.first(lambda held: not any(wants(held) for wants in self._wanted))
            if spare is None:
                return False
            # Nobody waits for it now; a step that will asks the store, which may still give it.
            if not self._told:
                # Once: in a flood every event displaces one.
                workflow.logger.warning("inbox full, event displaced", extra={"event": spare.id})
                self._told = True
            inbox.remove(spare)
            self._bytes -= data_bytes(spare.data)
        self._insert(event)
        for observer in self.observers:
            observer(event)
        return True

    def _insert(self, event: Event) -> None:
        """Put an event in its place: signals may overtake one another."""
        inbox = self._state.inbox
        index = len(inbox)
        if event.seq is not None:
            while index > 0 and (inbox[index - 1].seq or 0) > event.seq:
                index -= 1
        inbox.insert(index, event)
        self._bytes += data_bytes(event.data)


def topic(kind: str, key: str) -> str:
    """Give the name under which a run keeps what it has heard of a type and key."""
    return f"{kind} {key}"


def name(event: Event) -> str:
    """Give what makes an event this one: its place, or for one without its id."""
    return str(event.seq) if event.seq is not None else event.id
