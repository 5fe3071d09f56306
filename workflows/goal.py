"""The goal of a run: an event that ends it early wherever it stands."""

from workflows.execution import Execution
from workflows.frame import Frame
from workflows.subscriptions import Subscription, rendered_key

# No step has such a path.
PATH = "run.goal"


class Goal:
    """Watches for the goal's event; steps may take the same event."""

    def __init__(self, run: Execution, frame: Frame) -> None:
        """Prepare to watch; `open` begins."""
        goal = run.start.definition.goal
        assert goal is not None, "only a run with a goal has a watch"
        self._run = run
        self._frame = frame
        self._summary = f"goal: {goal.event}"
        key = rendered_key(run, goal.key, frame)
        self._asked = Subscription(run, PATH, PATH, goal.event, key, goal.where, taking=False)

    async def open(self) -> None:
        """Subscribe; from then on no event is missed, whichever step takes it."""
        await self._asked.open()

    async def watch(self) -> None:
        """Wait for the goal's event and keep it in the state; raises Quiesce."""
        try:
            while (event := await self._asked.next(self._frame)) is None:
                await self._run.wait(self._asked.ready, None, self._summary)
            self._run.state.goal = event
        finally:
            self._asked.close()
