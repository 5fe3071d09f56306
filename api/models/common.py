"""Types that several resources share."""

from typing import Annotated, Any

from fastapi import Depends, Path, Query
from pydantic import BaseModel, ConfigDict

from schemas.steps import DEFINITION_NAME

MAX_PAGE = 200
SLUG_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"
ID_PATTERN = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"

Json = Any
NamePath = Annotated[str, Path(pattern=DEFINITION_NAME, description="the definition's name")]
SlugPath = Annotated[str, Path(pattern=SLUG_PATTERN, description="its name")]
VersionPath = Annotated[int, Path(ge=1, le=2**31 - 1, description="the version's number")]
RunPath = Annotated[str, Path(min_length=1, max_length=64, description="the run's id")]
STEP_PATH = r"^[a-z][a-z0-9_]{0,62}(\[[0-9]{1,5}\]\.[a-z][a-z0-9_]{0,62}){0,16}$"
StepPath = Annotated[
    str, Path(pattern=STEP_PATH, description="the step's path, URL-encoded: `each%5B3%5D.send`")
]
LeadPath = Annotated[str, Path(min_length=1, max_length=64, description="the lead's id")]


class Closed(BaseModel):
    """Base of what the API takes: an unknown field is refused, never ignored."""

    model_config = ConfigDict(extra="forbid")


class Page(BaseModel):
    """Which part of a list: `cursor` is the `next_cursor` of the page before."""

    cursor: Annotated[str | None, Query(max_length=200)] = None
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50


def _page(
    cursor: Annotated[
        str | None, Query(max_length=200, description="`next_cursor` of the page before")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="entries on a page")] = 50,
) -> Page:
    return Page(cursor=cursor, limit=limit)


PageDep = Annotated[Page, Depends(_page)]
