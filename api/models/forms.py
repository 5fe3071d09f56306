"""Forms and what is submitted through them."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field

from api.models.common import Closed
from schemas.definition import DefinitionName

FieldName = Annotated[str, Field(min_length=1, max_length=64)]


class LeadMapping(Closed):
    """Which fields say who the lead is; the other fields are kept with the lead as they are."""

    email: FieldName = "email"
    name: FieldName = "name"
    company: FieldName = "company"


class FormInput(Closed):
    """A form: the JSON Schema of its fields, and the definition that a submission starts."""

    definition: DefinitionName
    title: Annotated[str, Field(max_length=200)] | None = None
    fields: dict[str, Any] = Field(
        description="JSON Schema (draft 2020-12) of the fields",
        examples=[
            {
                "type": "object",
                "required": ["email"],
                "properties": {"email": {"type": "string", "format": "email"}},
            }
        ],
    )
    mapping: LeadMapping = Field(default_factory=LeadMapping)


class FormView(FormInput):
    """One stored form."""

    name: str
    public_key: str = Field(
        description="names the form at POST /forms/{form}/submissions, in any workspace",
        examples=["form-8f0c2a7d5f7b4b0f9d1e6c3a2b4d5e6f"],
    )
    updated_at: datetime


class FormList(BaseModel):
    """All forms, by name."""

    items: list[FormView]


class Submission(Closed):
    """What a visitor sends."""

    fields: dict[str, Any] = Field(
        description="checked against the form's schema",
        examples=[{"email": "ada@example.com", "budget": 5000}],
    )
    tracking: dict[str, Any] = Field(
        default_factory=dict,
        description="where the visitor came from",
        examples=[{"utm_source": "newsletter"}],
    )


class SubmissionAnswer(BaseModel):
    """The lead and the run that a submission made."""

    lead_id: str
    run_id: str
