"""The gallery as the API gives it."""

from typing import Annotated

from pydantic import BaseModel, Field

from api.models.common import Closed
from schemas.bundle import BundledForm, BundledTemplate
from schemas.definition import DefinitionName


class GalleryEntry(BaseModel):
    """A ready-made definition in the list."""

    name: str
    title: str
    description: str
    tags: list[str]
    templates: list[str] = Field(description="names of the stored emails that come with it")
    forms: list[str] = Field(description="names of the forms that come with it")
    tested: bool = Field(description="whether a file of `sojourn test` comes with it")


class GalleryList(BaseModel):
    """All ready-made definitions, the ones to begin with first."""

    items: list[GalleryEntry]


class GalleryDetail(BaseModel):
    """A ready-made definition with all that comes with it."""

    name: str
    title: str
    description: str
    tags: list[str]
    source: str
    templates: list[BundledTemplate]
    forms: list[BundledForm]
    needs: list[str] = Field(description="what must be stored first", examples=["connection crm"])
    test: str | None = Field(default=None, description="a file of `sojourn test`")


class InstallInput(Closed):
    """How a copy is named."""

    as_: Annotated[
        DefinitionName | None,
        Field(alias="as", description="the copy's name; forms come only with the name it has"),
    ] = None
