"""Events of a run: asking for them, and taking each at most once.

An event may come before, while or after a step asks for it. Asking goes through the `subscribe`
activity, which under the lock of the event's type and key both stores the subscription and gives
the stored events of the run; from then on the `sojourn.event` signal brings what comes.
"""

from temporalio import workflow

from workflows.execution import Execution
from workflows.frame import Frame
from workflows.inbox import name, topic

with workflow.unsafe.imports_passed_through():
    from schemas.errors import InputError
    from schemas.events import MAX_KEY, is_full, view
    from schemas.expressions import as_text
    from schemas.run import Event

SUBSCRIBE = "subscribe"


def rendered_key(run: Execution, key: str, frame: Frame) -> str:
    """Render a key; raises InputError for one that no event can have."""
    text = as_text(run.render(key, frame))
    if not 1 <= len(text) <= MAX_KEY:
        what = f"has {len(text)} characters; the limit is {MAX_KEY}" if text else "is empty"
        raise InputError(f"the event's key {key!r} {what}")
    return text


class Subscription:
    """One source's interest in the events of a type and key, on behalf of the step `step`.

    `path` is the step's, with the source's place where a step has several. One that is not
    `taking` sees every event, also those that steps take, and leaves them to the steps.
    """

    def __init__(
        self,
        run: Execution,
        path: str,
        step: str,
        kind: str,
        key: str,
        where: str | None,
        *,
        taking: bool = True,
    ) -> None:
        """Prepare to watch the run's inbox; `open` begins, and asks the store as well."""
        self._run = run
        self._path = path
        self._step = step
        self._kind = kind
        self._key = key
        self._where = where
        self._taking = taking
        self._more = False
        self._seen: list[Event] = []
        # Events that `where` refused: they stay in the inbox for other steps.
        self._refused: set[str] = set()

    async def open(self) -> None:
        """Subscribe, and receive the stored events; asking again is harmless."""
        inbox = self._run.inbox
        if self._taking:
            inbox.wanting(self._wants)
        else:
            self._seen = [event for event in self._run.state.inbox if self._wants(event)]
            inbox.observers.append(self._see)
        await self._ask()

    def close(self) -> None:
        """Want nothing any more. The store forgets the subscription with the step's record."""
        if self._taking:
            self._run.inbox.done(self._wants)
        else:
            self._run.inbox.observers.remove(self._see)

    def ready(self) -> bool:
        """True when `next` has something to look at."""
        missed = topic(self._kind, self._key) in self._run.inbox.missed
        return self._more or missed or self._first() is not None

    async def next(self, frame: Frame) -> Event | None:
        """Give the oldest event that fits of those that have come, None without one.

        Raises RunFailed when `where` cannot be evaluated.
        """
        while self.ready():
            event = self._first()
            if event is None:
                if not await self._ask():
                    # No room: other readers must look at theirs first.
                    return None
            elif await self._judged(event, frame):
                return event
        return None

    async def _judged(self, event: Event, frame: Frame) -> bool:
        inbox = self._run.inbox
        if not self._taking:
            self._seen.remove(event)
            return await self._fits(event, frame)
        # Taken before `where` is judged: a step beside this one must not see it meanwhile.
        inbox.take(event)
        fits = False
        try:
            fits = await self._fits(event, frame)
        finally:
            if not fits:
                self._refused.add(name(event))
                inbox.put_back(event)
        return fits

    def _first(self) -> Event | None:
        if not self._taking:
            return self._seen[0] if self._seen else None
        return self._run.inbox.first(self._wants)

    def _see(self, event: Event) -> None:
        if self._wants(event):
            self._seen.append(event)

    def _wants(self, event: Event) -> bool:
        mine = event.type == self._kind and event.key == self._key
        return mine and name(event) not in self._refused

    async def _ask(self) -> bool:
        """Get what the store has beyond what was heard; False when there was no room for any."""
        run = self._run
        request = {
            "workspace": run.start.workspace,
            "run_id": run.start.run_id,
            "workflow_id": run.start.workflow_id,
            "path": self._path,
            "step": self._step,
            "type": self._kind,
            "key": self._key,
            "since": run.state.started_at.isoformat(),
            "after": run.state.heard.get(topic(self._kind, self._key), 0),
        }
        run.inbox.missed.discard(topic(self._kind, self._key))
        answer = await run.local(
            SUBSCRIBE, [request], f"{self._path}.subscribe", f"subscribe to {self._kind}"
        )
        page = [Event.model_validate(event) for event in answer]
        kept = run.inbox.receive_page(page)
        self._more = kept < len(page) or is_full(page)
        return kept > 0 or not page

    async def _fits(self, event: Event, frame: Frame) -> bool:
        if self._where is None:
            return True
        names = {"event": view(event)}
        path = f"{self._path}.where"
        return await self._run.verdict(
            self._where, frame.naming(names), path, f"where {self._where}"
        )
