"""The `lead` action: sets status and fields of a lead."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from activities.context import ActionContext
from activities.errors import ActionError
from activities.registry import action
from db import leads
from schemas.errors import ErrorCode, NotFoundError
from schemas.run import Lead


class LeadParams(BaseModel):
    """Parameters of `lead`."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, title="lead")

    lead: str | None = Field(default=None, description="id of the lead; the run's own by default")
    status: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")] | None = Field(
        default=None, description="new status", examples=["qualified", "booked", "failed"]
    )
    fields: dict[str, Any] = Field(
        default_factory=dict, description="merged over the lead's fields"
    )

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.status is None and not self.fields:
            raise ValueError("give 'status', 'fields' or both")
        return self


@action("lead")
async def lead(params: LeadParams, context: ActionContext) -> Lead:
    """Set status and fields of a lead; `status: failed` marks it failed.

    A change of status is stored as an event, once however often the step is attempted. Raises
    NOT_FOUND if the run has no lead and the step names none, or the lead does not exist.
    """
    database, step = context.services.database, context.step
    if database is None:
        raise ActionError("leads need a database", code=ErrorCode.INVALID_INPUT, retryable=False)
    lead_id = params.lead or step.lead_id
    if lead_id is None:
        raise NotFoundError(
            "the run has no lead",
            hint="start it from a form or with 'lead', or give the step 'lead: id'",
        )
    async with database.session() as session:
        after = await leads.set_status_and_fields(
            session,
            step.workspace,
            lead_id,
            status=params.status,
            fields=params.fields or None,
            run_id=step.run_id,
            step_path=step.path,
        )
        return Lead(
            id=str(after.id),
            email=after.email,
            name=after.name,
            company=after.company,
            status=str(after.status),
            fields=after.fields,
        )
