"""What a trigger must fit before it is stored: expressions, input, secrets, its form."""

from typing import Any

from sqlmodel.ext.asyncio.session import AsyncSession

from db import definitions, forms, secrets
from schemas.errors import InputError, NotFoundError, Problem
from schemas.trigger_checks import find_template_problems, find_trigger_problems
from schemas.triggers import (
    FormTrigger,
    InputTrigger,
    ScheduledTrigger,
    TriggerInput,
    WebhookTrigger,
)
from schemas.webhooks import NoScheme


async def check_trigger(
    session: AsyncSession, workspace: str, name: str, given: TriggerInput
) -> None:
    """Check a trigger of the definition `name`; raises NotFoundError, InputError.

    The input is checked against the active version, if there is one.
    """
    await definitions.get(session, workspace, name)
    if isinstance(given, FormTrigger):
        form = await forms.get(session, workspace, given.form)
        if form.definition != name:
            raise InputError(
                f"the form {given.form!r} starts {form.definition!r}, not {name!r}",
                hint="change the form's definition: its trigger follows",
            )
    if not isinstance(given, InputTrigger):
        return
    if isinstance(given, WebhookTrigger):
        await _check_secrets(session, workspace, given)
    found = await _problems(session, workspace, name, given)
    if found:
        first = found[0]
        raise InputError(
            f"the trigger is not valid at {first.path}: {first.message}",
            hint=first.hint,
            problems=found,
        )


async def _problems(
    session: AsyncSession, workspace: str, name: str, given: InputTrigger
) -> list[Problem]:
    try:
        version = await definitions.get_version(session, workspace, name)
    except NotFoundError:
        return input_problems(given, {})
    return input_problems(given, version.document)


def input_problems(given: InputTrigger, document: dict[str, Any]) -> list[Problem]:
    """Give what is wrong in a trigger's expressions and input, for a definition as data."""
    where = None if isinstance(given, ScheduledTrigger) else getattr(given, "where", None)
    if isinstance(given, WebhookTrigger) and given.publish is not None:
        # Its input is an event's data, which no schema binds.
        key = list(find_template_problems(given.publish.key, "publish.key", given.SCOPE))
        return key + find_trigger_problems(where, given.input, {"type": "object"}, given.SCOPE)
    schema = document.get("input") or {"type": "object"}
    return find_trigger_problems(where, given.input, schema, given.SCOPE)


def secrets_of(given: TriggerInput) -> list[str]:
    """Give the names of the secrets that a trigger needs."""
    if not isinstance(given, WebhookTrigger) or isinstance(given.verify, NoScheme):
        return []
    return given.verify.secrets


async def _check_secrets(session: AsyncSession, workspace: str, given: WebhookTrigger) -> None:
    named = secrets_of(given)
    known = await secrets.known_names(session, workspace, named)
    missing = [one for one in named if one not in known]
    if missing:
        raise InputError(
            f"there is no secret named {missing[0]!r}", hint="store it first: PUT /api/v1/secrets/…"
        )
