"""Fakes of every action: mails are kept, leads live in memory, all else answers as mocked."""

import hashlib
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities import liquid, stretch
from activities.agent import TURN
from activities.errors import ActionError, invalid_input
from activities.execution import application_error
from activities.registry import Action, Registry
from schemas.actions import StepContext
from schemas.errors import ErrorCode, InputError, NotFoundError, SojournError
from schemas.markers import names_in, resolved
from schemas.policies import Retry
from schemas.run import Event, Lead
from schemas.stretch import PlannedStep
from schemas.validation import check_input
from testing.agents import turn_of
from testing.cases import Attempt
from testing.deliveries import tell
from testing.world import Mail, World

BOOKING_URL = "https://booking.example.com/meet"

WorldOf = Callable[[str], World]


def build(registry: Registry, world_of: WorldOf) -> list[Callable[..., Any]]:
    """Give an activity for each action; `world_of` finds the case by the run's id."""

    async def inline(step: PlannedStep, params: Any) -> Any:
        return await _play(registry.get(step.type), world_of, params, step.context)

    entries = [registry.get(name) for name in registry.specs()]
    fakes = [_fake(entry, world_of) for entry in (*entries, TURN)]
    return [*fakes, *stretch.build(inline)]


def _fake(entry: Action, world_of: WorldOf) -> Callable[..., Any]:
    @activity.defn(name=entry.name)
    async def run(params: Any, context: Any) -> Any:
        return await _play(entry, world_of, params, context)

    return run


async def _play(entry: Action, world_of: WorldOf, params: Any, context: Any) -> Any:
    step = StepContext.model_validate(context)
    world = world_of(step.run_id)
    world.key = step.key
    answer = _attempts(entry, world, step, params)
    told, world.outbox = world.outbox, []
    await tell(activity.client(), told)
    return answer


def _attempts(entry: Action, world: World, step: StepContext, params: Any) -> dict[str, Any]:
    """Try as often as the step's policy says, without the time between; raises ApplicationError.

    Not by Temporal's own retries: while one of them waits, the server tells nothing of the inline
    steps beside it.
    """
    retry = Retry.model_validate(step.retry)
    # A case has no secrets: a word stands for each, which fits where the value would.
    params = resolved(params, {name: f"secret-{name}" for name in names_in(params)})
    # Turns are counted in their paths; a case names the agent.
    path = step.path.rpartition("[")[0] if entry is TURN else step.path
    number = 0
    while True:
        number += 1
        attempt: Attempt | None = None
        try:
            try:
                parsed = entry.params.model_validate(params)
            except ValidationError as error:
                raise invalid_input(entry.name, error) from error
            attempt = world.next_attempt(path)
            given = parsed.model_dump(by_alias=True)
            result = _answer(entry, world, path, given, attempt)
        except SojournError as error:
            late = attempt is not None and attempt.timeout is True
            # A timeout is the server's: `only` and `except` have no say in it.
            failure = application_error(error, None if late else retry, number)
            if failure.non_retryable or number == retry.attempts:
                raise _final(failure) from error
            continue
        return {"attempt": number, "result": result}


def _final(failure: ApplicationError) -> ApplicationError:
    return ApplicationError(
        failure.message, *failure.details, type=failure.type, non_retryable=True
    )


def _answer(
    entry: Action, world: World, path: str, params: dict[str, Any], attempt: Attempt | None
) -> Any:
    if attempt is not None and attempt.timeout:
        raise ActionError("no answer in time (start_to_close)", code=ErrorCode.STEP_TIMEOUT)
    if attempt is not None and attempt.error is not None:
        fault = attempt.error
        raise ActionError(fault.message, code=fault.code, retryable=fault.retryable)
    given = world.render(attempt.result) if attempt is not None else None
    if attempt is None and entry.name not in _FAKES:
        world.problems.append(
            f"the step {path!r} calls the action {entry.name!r}, which the case does not mock"
        )
        raise ActionError(f"{entry.name} is not mocked", code=ErrorCode.INTERNAL, retryable=False)
    own = _FAKES.get(entry.name)
    result = own(world, path, params, given) if own is not None else given
    whole = _FILLED.get(entry.name, _as_given)(params, result)
    _check_result(entry.name, entry.spec().result, world, path, whole)
    if entry.name == "ai" and params.get("output") is not None and isinstance(whole, dict):
        _check_result("the step's 'output'", params["output"], world, path, whole.get("output"))
    return whole


def _check_result(name: str, schema: dict[str, Any], world: World, path: str, result: Any) -> None:
    try:
        check_input(schema, result)
    except InputError as error:
        message = error.message.removeprefix("the input is not valid")
        warning = f"the result of {path!r} does not fit {name}{message}"
        if warning not in world.warnings:
            world.warnings.append(warning)


# -- actions with a fake of their own --------------------------------------------------------


def _email(world: World, path: str, params: dict[str, Any], given: Any) -> Any:
    subject, text = params.get("subject"), params.get("text")
    if params.get("template") is not None and world.templates is not None:
        stored = world.templates.get(params["template"])
        if stored is None:
            raise NotFoundError(f"the template {params['template']!r} does not exist")
        lead = world.lead.model_dump() if world.lead else None
        known = {"booking_url": BOOKING_URL, "lead": lead}
        data = {name: value for name, value in known.items() if value is not None}
        rendered = liquid.render_preview(
            subject=stored.subject,
            text=stored.text,
            html=stored.html,
            data=data | params["data"],
            override=subject,
        )
        subject, text = rendered.subject, rendered.text
    to = params["to"] if isinstance(params["to"], list) else [params["to"]]
    world.mails.append(Mail(path, to, subject, params.get("template"), params["data"], text))
    number, _ = world.effect()
    digest = hashlib.sha256(f"{path}{number}".encode()).hexdigest()[:16]
    usual = {
        "message_id": f"<{digest}@test>",
        "to": to,
        "subject": subject or "",
        "accepted": to,
        "refused": {},
        "response": "250 OK",
        "already_sent": False,
        "recorded": None if world.lead is None else True,
        "suppressed": False,
        "capped": False,
        "left_out": [],
    }
    return _over(usual, given)


def _lead(world: World, _path: str, params: dict[str, Any], given: Any) -> Any:
    if given is None and world.lead is None:
        raise NotFoundError("the run has no lead", hint="give the case a 'lead'")
    if world.lead is not None and params.get("lead") in (None, world.lead.id):
        status = params.get("status") or world.lead.status
        fields = {**world.lead.fields, **params["fields"]}
        world.lead = world.lead.model_copy(update={"status": status, "fields": fields})
    usual = world.lead or Lead(id="lead", email="lead@example.com")
    return _over(usual.model_dump(mode="json"), given)


def _emit(world: World, path: str, params: dict[str, Any], given: Any) -> Any:
    number, known = world.effect()
    told: list[tuple[str, Event]] = []
    if not known:
        told = world.publish(params["type"], params["key"], params["data"], world.began)
        world.emitted.append(world.events[-1])
        world.outbox += told
    usual = {"id": f"{path}-{number}", "matched": len(told), "started": 0, "duplicate": known}
    return _over(usual, given)


def _over(usual: dict[str, Any], given: Any) -> Any:
    """Put what the case gives over what is usual; what is no map stands for itself."""
    if given is None:
        return usual
    return usual | given if isinstance(given, dict) else given


_FAKES: dict[str, Callable[[World, str, dict[str, Any], Any], Any]] = {
    "email": _email,
    "lead": _lead,
    "emit": _emit,
}


# -- short results made whole ----------------------------------------------------------------


def _as_given(params: dict[str, Any], result: Any) -> Any:
    del params
    return result


def _http(params: dict[str, Any], result: Any) -> Any:
    if not isinstance(result, dict):
        return result
    return {"status": 200, "headers": {}, "body": None, "url": params["url"]} | result


def _ai(params: dict[str, Any], result: Any) -> Any:
    if not isinstance(result, dict):
        return result
    usage = {"input_tokens": 0, "output_tokens": 0, "requests": 1}
    model = params.get("model") or "test"
    usual = {"text": None, "provider": model.partition(":")[0], "model": model, "usage": usage}
    return usual | result


def _webhook(params: dict[str, Any], result: Any) -> Any:
    del params
    return {"id": "msg_test", "status": 200} | result if isinstance(result, dict) else result


_FILLED: dict[str, Callable[[dict[str, Any], Any], Any]] = {
    "http": _http,
    "webhook": _webhook,
    "ai": _ai,
    TURN.name: turn_of,
}
