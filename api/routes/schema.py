"""GET /schema: the JSON Schema of the definition language, for editors."""

from typing import Any

from fastapi import APIRouter

from api.dependencies import CatalogueDep
from api.errors import problems
from schemas.language import language_schema

router = APIRouter(tags=["language"])


@router.get("/schema", responses=problems())
async def get_language_schema(catalogue: CatalogueDep) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of definitions, with the actions installed here."""
    return language_schema(catalogue)
