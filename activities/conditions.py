"""The verdicts that choose a run's path, taken in local activities and so kept in its history."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from sqlmodel.ext.asyncio.session import AsyncSession
from temporalio import activity

from activities.errors import ActionError, invalid_input
from activities.execution import application_error
from activities.services import Services
from db import leads, tenancy
from schemas import expressions
from schemas.actions import StepContext
from schemas.errors import ErrorCode, ExpressionError, NotFoundError, SojournError
from schemas.steps_flow import HOLDOUT
from schemas.steps_wait import Window
from schemas.windows import next_open


def build(services: Services) -> list[Callable[..., Any]]:
    """Give the activities of this module for a worker."""

    @activity.defn(name="verdict")
    async def verdict(expression: Any, variables: Any) -> bool:
        return _told(lambda: decide(expression, variables))

    @activity.defn(name="choose")
    async def choose(on: Any, cases: Any, variables: Any) -> int:
        return _told(lambda: first_match(on, cases, variables))

    @activity.defn(name="check")
    async def check(name: Any, params: Any, context: Any) -> bool:
        try:
            return await run_check(services, name, params, context)
        except SojournError as error:
            raise application_error(error) from error

    @activity.defn(name="assign")
    async def assign(salt: str, key: str, variants: list[Any], holdout: float) -> str:
        return variant_of(salt, key, variants, holdout)

    @activity.defn(name="opening")
    async def opening(window: dict[str, Any], timezone: str, moment: str) -> str:
        return _told(lambda: opens_at(window, timezone, moment))

    return [verdict, choose, check, assign, opening]


def decide(expression: str, variables: Mapping[str, Any]) -> bool:
    """Evaluate a condition; raises ExpressionError where it fails or gives no boolean."""
    value = expressions.evaluate(expression, variables)
    if not isinstance(value, bool):
        raise ExpressionError(
            f"the condition gives {_kind(value)}, not true or false",
            hint="compare it with something, for example 'x != null' or 'x > 0'",
        )
    return value


def first_match(
    on: str | None, cases: list[Mapping[str, Any]], variables: Mapping[str, Any]
) -> int:
    """Give the index of the first case that matches, -1 for none.

    A case holds `is`, a value compared with that of `on` as CEL's `==` does (1 equals 1.0, and
    not true), or `if`, a condition. Cases after the match are not evaluated.
    """
    subject = None if on is None else expressions.plain(expressions.evaluate(on, variables))
    for index, case in enumerate(cases):
        if case.get("if") is not None:
            if decide(case["if"], variables):
                return index
        elif expressions.evaluate("a == b", {"a": subject, "b": case.get("is")}) is True:
            return index
    return -1


def variant_of(salt: str, key: str, variants: list[Any], holdout: float) -> str:
    """Give the variant of a key: `variants` are (name, weight), `holdout` is in percent.

    Two numbers of 64 bits each from SHA-256 of salt and key decide: the same key goes the same way
    for ever, and a holdout that grows takes nobody from one variant to another.
    """
    digest = hashlib.sha256(f"{salt}\0{key}".encode()).digest()
    if int.from_bytes(digest[:8]) < holdout / 100 * 2**64:
        return HOLDOUT
    point = int.from_bytes(digest[8:16]) * sum(weight for _, weight in variants) >> 64
    for name, weight in variants:
        point -= weight
        if point < 0:
            return name
    raise AssertionError("the point lies below the sum of the weights")


def opens_at(window: dict[str, Any], timezone: str, moment: str) -> str:
    """Give when a delay's window is open from a moment on; both moments are RFC 3339.

    Recorded because the rules of time zones change: a replay must not judge by newer ones.
    """
    found = next_open(Window.model_validate(window), timezone, datetime.fromisoformat(moment))
    return found.isoformat()


def _told(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except SojournError as error:
        raise application_error(error) from error


def _kind(value: Any) -> str:
    names = {type(None): "null", str: "a text", list: "a list", dict: "a map"}
    if isinstance(value, int | float):
        return "a number"
    return names.get(type(value), f"a {type(value).__name__}")


class _Params(BaseModel):
    model_config = ConfigDict(extra="forbid")


class BudgetParams(_Params):
    """`with` of budget_qualification; without `budget` the lead's or the input's is taken."""

    threshold: float
    budget: float | None = None


class LeadEventParams(_Params):
    """`with` of the checks on a lead's events."""

    lead: str | None = Field(default=None, description="id or email; the run's own by default")
    since: AwareDatetime | None = Field(default=None, description="the start of the run by default")


class MailEventParams(LeadEventParams):
    """`with` of the checks on what a lead did with a mail."""

    step: str | None = Field(
        default=None,
        description="an email step of this run: its mail alone counts; any mail by default",
    )


class CheckContext(StepContext):
    """The step's context, with what the checks read of the run."""

    input: dict[str, Any] = Field(default_factory=dict)
    lead: dict[str, Any] | None = None
    started_at: AwareDatetime | None = None


async def run_check(services: Services, name: str, params: Any, context: Any) -> bool:
    """Answer one of the named checks of the language; raises SojournError."""
    if name not in _CHECKS:
        raise ActionError(
            f"no check is named {name!r}",
            code=ErrorCode.INVALID_INPUT,
            retryable=False,
            hint=f"checks are {', '.join(_CHECKS)}",
        )
    model, function = _CHECKS[name]
    try:
        scope = CheckContext.model_validate(context)
        parsed = model.model_validate(params)
    except ValidationError as error:
        raise invalid_input(name, error) from error
    if services.database is None:
        raise ActionError(f"{name} needs a database", code=ErrorCode.INVALID_INPUT, retryable=False)
    with tenancy.scope(scope.workspace):
        async with services.database.session() as session:
            return await function(session, parsed, scope)


async def _budget(session: AsyncSession, params: BudgetParams, scope: CheckContext) -> bool:
    budget: Any = params.budget
    if budget is None and scope.lead_id is not None:
        budget = (await leads.get(session, scope.workspace, scope.lead_id)).fields.get("budget")
    if budget is None:
        budget = scope.input.get("budget")
    try:
        return float(budget) >= params.threshold
    except (TypeError, ValueError) as error:
        missing = "no budget is known" if budget is None else "the budget is not a number"
        raise ActionError(
            missing,
            code=ErrorCode.INVALID_INPUT,
            retryable=False,
            hint="give with.budget, for example '{{ default(input.budget, 0) }}'",
        ) from error


def _happened(
    kind: leads.LeadEventKind,
) -> Callable[[AsyncSession, LeadEventParams, CheckContext], Awaitable[bool]]:
    async def happened(session: AsyncSession, params: LeadEventParams, scope: CheckContext) -> bool:
        lead_id = await _lead_id(session, params.lead or scope.lead_id, scope.workspace)
        step = params.step if isinstance(params, MailEventParams) else None
        return await leads.has_event(
            session,
            scope.workspace,
            lead_id,
            kind,
            since=params.since or scope.started_at or _started_at(scope.run_id),
            # Another run of the same definition has a step of this name as well.
            run_id=None if step is None else scope.run_id,
            step=step,
        )

    return happened


async def _lead_id(session: AsyncSession, named: str | None, workspace: str) -> str:
    if named is None:
        raise NotFoundError(
            "the run has no lead",
            hint="start it from a form or with 'lead', or give the check 'lead: id or email'",
        )
    if "@" not in named:
        return named
    found = await leads.find_by_email(session, workspace, named)
    if found is None:
        raise NotFoundError("no lead has that email address")
    return str(found.id)


def _started_at(run_id: str) -> datetime | None:
    """Read the time out of a UUIDv7 (RFC 9562, 5.7): its first 48 bits are Unix milliseconds."""
    digits = run_id.replace("-", "")
    if len(digits) != 32 or digits[12] != "7":
        return None
    return datetime.fromtimestamp(int(digits[:12], 16) / 1000, UTC)


_Check = Callable[[AsyncSession, Any, CheckContext], Awaitable[bool]]
_CHECKS: dict[str, tuple[type[_Params], _Check]] = {
    "budget_qualification": (BudgetParams, _budget),
    # A reply is a mail that came back: neither an open, nor a click, nor an automatic answer.
    "reply_received": (MailEventParams, _happened(leads.LeadEventKind.REPLIED)),
    "booking_completed": (LeadEventParams, _happened(leads.LeadEventKind.BOOKED)),
    "email_opened": (MailEventParams, _happened(leads.LeadEventKind.OPENED)),
    "email_clicked": (MailEventParams, _happened(leads.LeadEventKind.CLICKED)),
}
