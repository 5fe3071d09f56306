"""GET /actions: the catalogue of actions installed here."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from api.dependencies import CatalogueDep, FunctionsDep, WorkspaceDep
from api.errors import problems
from schemas.durations import format_duration

router = APIRouter(tags=["language"])


class ActionEntry(BaseModel):
    """One action; `params` and `result` are JSON Schemas, `timeout` is of one attempt."""

    name: str
    summary: str
    params: dict[str, Any]
    result: dict[str, Any]
    timeout: str


class ActionList(BaseModel):
    """Every action, by name."""

    items: list[ActionEntry]


@router.get("/actions", responses=problems())
async def list_actions(catalogue: CatalogueDep) -> ActionList:
    """The actions that steps may name, with the schemas of their parameters and results."""
    return ActionList(
        items=[
            ActionEntry(
                name=spec.name,
                summary=spec.summary,
                params=spec.params,
                result=spec.result,
                timeout=format_duration(spec.timeout),
            )
            for spec in catalogue.specs().values()
        ]
    )


class FunctionEntry(BaseModel):
    """A function that `function` steps may call; `parameters` and `result` are JSON Schemas."""

    reference: str
    summary: str
    parameters: dict[str, Any]
    result: dict[str, Any]


class FunctionList(BaseModel):
    """Every function, by reference."""

    items: list[FunctionEntry]


@router.get("/actions/functions", responses=problems())
async def list_functions(functions: FunctionsDep, workspace: WorkspaceDep) -> FunctionList:
    """The operator's Python functions that definitions of this workspace may call."""
    return FunctionList(
        items=[
            FunctionEntry(
                reference=one.reference,
                summary=one.summary,
                parameters=one.parameters,
                result=one.result,
            )
            for one in functions.of(workspace).values()
        ]
    )
