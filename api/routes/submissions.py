"""POST /forms/{form}/submissions: the public door through which leads come in."""

from typing import Any

from fastapi import APIRouter, BackgroundTasks, Response
from pydantic import TypeAdapter, ValidationError
from sqlmodel.ext.asyncio.session import AsyncSession

from api.auth import public
from api.dependencies import ConfigDep, DatabaseDep
from api.errors import problems
from api.models.common import SlugPath
from api.models.forms import Submission, SubmissionAnswer
from api.models.runs import Email, LeadInput
from api.routes.runs import IdempotencyKey, StarterDep
from api.starting import Order
from db import forms, idempotency, leads, tenancy
from db.base import now
from db.forms import Form
from db.leads import LeadEventKind
from db.trigger_gates import Gate
from db.trigger_table import TriggerKind
from schemas.errors import ErrorCode, InputError, Problem
from schemas.validation import check_input, check_size

MAX_TRACKING_BYTES = 16 * 1024
MAX_NAME = 200
router = APIRouter(tags=["forms"])
_email = TypeAdapter(Email)


@router.post(
    "/forms/{form}/submissions",
    status_code=201,
    responses={
        200: {"model": SubmissionAnswer, "description": "What the same key submitted before"},
        202: {"model": SubmissionAnswer, "description": "Kept; its run starts later"},
        **problems(400, 404, 409, 413, 429, closed=False),
    },
)
@public
async def submit_form(
    form: SlugPath,
    body: Submission,
    database: DatabaseDep,
    config: ConfigDep,
    starter: StarterDep,
    response: Response,
    after: BackgroundTasks,
    idempotency_key: IdempotencyKey = None,
) -> SubmissionAnswer:
    """Create or update the lead, keep what was submitted, and start the form's definition."""
    with tenancy.system():
        async with database.session() as session:
            stored = await forms.find_public(session, config.workspace, form)
    workspace, form = stored.workspace, stored.name
    tenancy.enter(workspace)
    starter = starter.of(workspace)
    check_input(stored.fields, body.fields)
    check_size(body.tracking, MAX_TRACKING_BYTES, "tracking")
    lead = read_lead(stored, body.fields)

    async def record(session: AsyncSession, run_id: str, lead_id: str | None) -> None:
        if lead_id is None:
            raise AssertionError("a submission always has a lead")
        await leads.add_event(
            session,
            workspace,
            lead_id,
            LeadEventKind.SUBMITTED,
            at=now(),
            data={"form": form, "fields": body.fields, "tracking": body.tracking},
            run_id=run_id,
            key=f"submission:{run_id}",
        )

    started = await starter.start(
        Order(
            definition=stored.definition,
            input=body.fields,
            tracking=body.tracking,
            lead=lead,
            actor=f"form:{form}",
            # A visitor's key must not meet one of the API's callers.
            key=f"form:{form}:{idempotency_key}" if idempotency_key else None,
            fingerprint=idempotency.fingerprint("form", form, body.model_dump(mode="json")),
            recording=record,
            gate=Gate(TriggerKind.FORM, form),
            waits=True,
        )
    )
    after.add_task(starter.mark, started)
    response.status_code = started.http_status
    return SubmissionAnswer(lead_id=started.lead_id or "", run_id=started.run_id)


def read_lead(form: Form, fields: dict[str, Any]) -> LeadInput:
    """The lead that a submission describes; raises InputError without an email address."""
    names = {**{"email": "email", "name": "name", "company": "company"}, **form.mapping}
    try:
        email = _email.validate_python(fields.get(names["email"]))
    except ValidationError as error:
        message = "not an email address"
        raise InputError(
            f"{names['email']}: {message}",
            problems=[Problem(code=ErrorCode.INVALID_INPUT, path=names["email"], message=message)],
        ) from error
    who = set(names.values())
    return LeadInput(
        email=email,
        name=_short_text(fields.get(names["name"])),
        company=_short_text(fields.get(names["company"])),
        fields={key: value for key, value in fields.items() if key not in who},
    )


def _short_text(value: Any) -> str | None:
    return value.strip()[:MAX_NAME] or None if isinstance(value, str) else None
