"""Events of a run: asking for them, and taking each at most once.

An event may come before, while or after a step asks for it. Asking goes through the `subscribe`
activity, which under the lock of the event's type and key both stores the subscription and gives
the events since the run's start; from then on the `sojourn.event` signal brings what comes.
"""

from datetime import datetime
from typing import Any

from temporalio import workflow

from workflows.execution import Execution
from workflows.frame import Frame

with workflow.unsafe.imports_passed_through():
    from schemas.expressions import as_text
    from schemas.run import Event

SUBSCRIBE = "subscribe"


class Subscription:
    """One step's interest in the events of a type and key."""

    def __init__(self, run: Execution, path: str, kind: str, key: str, where: str | None) -> None:
        """Watch the run's inbox; `open` also asks for the events outside."""
        self._run = run
        self._path = path
        self._kind = kind
        self._key = key
        self._where = where
        # Events that `where` refused: they stay in the inbox for other steps.
        self._refused: set[str] = set()

    @classmethod
    async def open(
        cls, run: Execution, path: str, kind: str, key: str, where: str | None, frame: Frame
    ) -> "Subscription":
        """Subscribe; `key` may hold {{ }}. Asking again for the same path is harmless."""
        rendered = as_text(run.render(key, frame))
        request = {
            "workspace": run.start.workspace,
            "run_id": run.start.run_id,
            "workflow_id": run.start.workflow_id,
            "path": path,
            "type": kind,
            "key": rendered,
            "since": run.state.started_at.isoformat(),
        }
        known = await run.local(SUBSCRIBE, [request], f"{path}.subscribe", f"subscribe to {kind}")
        for event in known:
            run.receive(Event.model_validate(event))
        return cls(run, path, kind, rendered, where)

    async def next(
        self, frame: Frame, until: datetime | None, summary: str, *, take: bool = True
    ) -> Event | None:
        """Wait for the oldest event that fits; None at the deadline.

        With `take` no other step gets it. Raises Quiesce as `Execution.wait` does, and RunFailed
        when `where` cannot be evaluated.
        """
        while await self._run.wait(lambda: self._candidate() is not None, until, summary):
            event = self._candidate()
            assert event is not None, "the wait ends with one"
            if take:
                # Taken before `where` is judged: a step beside this one must not see it meanwhile.
                self._run.state.inbox.remove(event)
            if await self._fits(event, frame):
                if take:
                    self._run.state.taken.append(event.id)
                return event
            self._refused.add(event.id)
            if take:
                self._run.state.inbox.append(event)
        return None

    def _candidate(self) -> Event | None:
        for event in self._run.state.inbox:
            fits = event.type == self._kind and event.key == self._key
            if fits and event.id not in self._refused:
                return event
        return None

    async def _fits(self, event: Event, frame: Frame) -> bool:
        if self._where is None:
            return True
        names: dict[str, Any] = {"event": event.model_dump(mode="json")}
        path = f"{self._path}.where"
        return await self._run.verdict(
            self._where, frame.naming(names), path, f"where {self._where}"
        )
