"""The interpreter's own activities, over a case's world instead of a database."""

from collections.abc import Awaitable, Callable
from typing import Any

from temporalio import activity

from activities import conditions, control
from activities.conditions import decide, first_match, variant_of
from activities.errors import ActionError
from activities.execution import application_error
from activities.records import changes
from activities.services import Services
from schemas.actions import StepContext
from schemas.errors import ErrorCode, SojournError
from schemas.run import Projection
from testing import sub_runs
from testing.world import World

CurrentWorld = Callable[[], World]
Hold = Callable[[], Awaitable[None]]


def build(world_now: CurrentWorld, hold: Hold) -> list[Callable[..., Any]]:
    """Give the activities; `world_now` is the world of the case that runs.

    `hold` is called after each record of the run, when it may have come to a standstill.
    """

    @activity.defn(name="verdict")
    async def verdict(expression: Any, variables: Any) -> bool:
        return _kept(world_now(), "verdict", lambda: decide(expression, variables))

    @activity.defn(name="choose")
    async def choose(on: Any, cases: Any, variables: Any) -> int:
        return _kept(world_now(), "choose", lambda: first_match(on, cases, variables))

    @activity.defn(name="assign")
    async def assign(salt: str, key: str, variants: list[Any], holdout: float) -> str:
        world = world_now()
        wanted = world.variant(activity.info().activity_id)
        return _kept(world, "assign", lambda: wanted or variant_of(salt, key, variants, holdout))

    @activity.defn(name="check")
    async def check(name: Any, params: Any, context: Any) -> bool:
        del params
        world = world_now()
        path = StepContext.model_validate({**context}).path
        return _kept(world, "check", lambda: _checked(world, name, path))

    @activity.defn(name="record")
    async def record(projection: Any) -> dict[str, Any]:
        parsed = Projection.model_validate(projection)
        world_now().record(parsed)
        await hold()
        return changes(parsed)

    @activity.defn(name="subscribe")
    async def subscribe(request: dict[str, Any]) -> list[Any]:
        return [event.model_dump(mode="json") for event in world_now().subscribe(request)]

    @activity.defn(name="open_run")
    async def open_run(request: dict[str, Any]) -> dict[str, Any]:
        try:
            return sub_runs.open_mocked(world_now(), request)
        except SojournError as error:
            raise application_error(error) from error

    @activity.defn(name="open_batch")
    async def open_batch(request: dict[str, Any]) -> None:
        world_now().parts.add(request["run_id"])

    own = [verdict, choose, assign, check, record, subscribe, open_run, open_batch]
    replaced = {activity_name(function) for function in own}
    # The others decide by their arguments alone.
    pure = [each for each in conditions.build(Services()) if activity_name(each) not in replaced]
    return [*own, *pure, *control.build()]


def activity_name(function: Callable[..., Any]) -> str:
    """Give the name of an activity, as Temporal knows it."""
    return str(getattr(function, "__temporal_activity_definition").name)


def _checked(world: World, name: str, path: str) -> bool:
    answer = world.next_verdict(path)
    if answer is None:
        world.problems.append(
            f"the condition {path!r} asks the check {name!r}, which the case does not answer"
        )
        raise ActionError(f"{name} is not answered", code=ErrorCode.INTERNAL, retryable=False)
    return answer


def _kept(world: World, kind: str, decide_it: Callable[[], Any]) -> Any:
    try:
        return world.judge(kind, activity.info().activity_id, decide_it())
    except SojournError as error:
        raise application_error(error) from error
