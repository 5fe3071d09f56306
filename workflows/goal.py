"""The goal of a run: an event that ends it early wherever it stands."""

from workflows.execution import Execution
from workflows.frame import Frame
from workflows.subscriptions import Subscription


async def watch(run: Execution, frame: Frame) -> None:
    """Wait for the goal's event and keep it in the state; steps may take the same event."""
    goal = run.start.definition.goal
    assert goal is not None, "only a run with a goal has a watch"
    asked = await Subscription.open(run, "goal", goal.event, goal.key, goal.where, frame)
    run.state.goal = await asked.next(frame, None, f"goal: {goal.event}", take=False)
