"""What an operator may tell an open run: arguments of the workflow's updates."""

from typing import Any, Literal

from pydantic import BaseModel, Field, field_serializer

from schemas.definition import Definition
from schemas.durations import Duration
from schemas.run import Decision


class Decide(Decision):
    """Retry, skip or abort the held step at `path`."""

    path: str


class Respond(BaseModel):
    """One person's answer to the approval at `path`."""

    path: str
    decision: Literal["approved", "rejected"]
    data: dict[str, Any] = Field(default_factory=dict)
    by: str


class SetVars(BaseModel):
    """New values of `vars`; names that are not given keep theirs."""

    vars: dict[str, Any]
    by: str | None = None


class Rewind(BaseModel):
    """Go back to the step at `path`."""

    path: str
    by: str | None = None


class Migrate(BaseModel):
    """Go on in this version; `mapping` gives old step ids their new ones."""

    definition: Definition
    version: int
    mapping: dict[str, str] = Field(default_factory=dict)
    timeouts: dict[str, Duration] = Field(default_factory=dict)
    by: str | None = None

    @field_serializer("definition")
    def _compact(self, definition: Definition) -> dict[str, Any]:
        return definition.model_dump(mode="json", by_alias=True, exclude_unset=True)
