"""GET /export and POST /import: definitions with what belongs to them as one YAML document."""

import asyncio
from collections import Counter
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from api.dependencies import ActorDep, CatalogueDep, ConfigDep, SessionDep, WorkspaceDep
from api.errors import problems
from api.exporting import gather
from api.importing import Import
from api.models.bundles import ImportAnswer, ImportMode
from api.publishing import check_definition
from api.source import read_text
from db import audit
from schemas.bundle import MAX_BYTES, dump_bundle, parse_bundle
from schemas.errors import InputError
from schemas.graph_import import Converted, VisualGraph, convert
from schemas.steps import DEFINITION_NAME

router = APIRouter(tags=["bundles"])

_EXAMPLE = """\
sojourn: 1
definitions:
  - name: hello
    published: true
    source: |
      name: hello
      steps:
        - {id: think, type: delay, for: 3d}
"""
BUNDLE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "a bundle as `GET /export` gives it, at most 4 MiB",
        "content": {
            "application/yaml": {"schema": {"type": "string"}, "example": _EXAMPLE},
            "application/json": {
                "schema": {"type": "object"},
                "example": {"sojourn": 1, "definitions": []},
            },
        },
    }
}
_NAMES = DEFINITION_NAME.removesuffix("$") + r"(,[a-z][a-z0-9-]{0,62})*$"


async def _read_bundle(request: Request) -> str:
    return await read_text(request, MAX_BYTES, "bundle")


@router.get(
    "/export",
    response_class=Response,
    responses={
        200: {
            "description": "The bundle; the same content gives the same bytes",
            # YAML is read before it is judged: what comes out of it is an object.
            "content": {"application/yaml": {"schema": {"type": "object"}}},
        },
        **problems(404, 413),
    },
)
async def export_bundle(
    session: SessionDep,
    workspace: WorkspaceDep,
    names: Annotated[
        str | None,
        Query(
            alias="definitions",
            pattern=_NAMES,
            max_length=8000,
            description="names, with commas between them; everything by default",
            examples=["hello,welcome"],
        ),
    ] = None,
) -> Response:
    """Definitions with their templates, forms and triggers, as one YAML document.

    Connections and secrets are in it by name only, webhooks without their tokens.
    """
    wanted = None if names is None else sorted(set(names.split(",")))
    bundle = await gather(session, workspace, wanted)
    text = await asyncio.to_thread(dump_bundle, bundle)
    return Response(
        text.encode(),
        media_type="application/yaml",
        headers={"Content-Disposition": 'attachment; filename="bundle.yaml"'},
    )


@router.post("/import", responses=problems(409, 413), openapi_extra=BUNDLE_BODY)
async def import_bundle(
    source: Annotated[str, Depends(_read_bundle)],
    session: SessionDep,
    workspace: WorkspaceDep,
    catalogue: CatalogueDep,
    config: ConfigDep,
    actor: ActorDep,
    mode: Annotated[
        ImportMode, Query(description="what becomes of things that exist and are different")
    ] = ImportMode.CREATE,
    dry_run: Annotated[bool, Query(description="only say what would be done")] = False,
    enable: Annotated[
        bool, Query(description="triggers arrive as the bundle has them, not disabled")
    ] = False,
) -> ImportAnswer:
    """Store a bundle: everything is checked first, then all of it is stored, or nothing.

    It starts nothing. `missing` lists what the definitions need and is not there: connections
    and secrets are never in a bundle.
    """
    bundle = await asyncio.to_thread(parse_bundle, source)
    if not (bundle.definitions or bundle.templates or bundle.forms or bundle.triggers):
        raise InputError("the bundle holds nothing to import")
    work = Import(
        session,
        workspace,
        catalogue,
        bundle,
        mode,
        actor,
        enable=enable,
        public_url=config.public_url or "",
    )
    answer = await work.run(dry_run=dry_run)
    if not dry_run:
        audit.add(
            session,
            workspace,
            actor=actor,
            action="import_bundle",
            subject="import_bundle",
            data=dict(Counter(f"{item.kind} {item.action}" for item in answer.items)),
        )
    return answer


@router.post("/import/graph", responses=problems(400, 413))
async def import_graph(body: VisualGraph, catalogue: CatalogueDep) -> Converted:
    """Turn the nodes and edges of a visual builder into a definition; nothing is stored.

    422 for cycles and for edges that lead nowhere. Anything else that is wrong is in `problems`,
    beside a definition that shows what to mend.
    """
    found = await asyncio.to_thread(convert, body, catalogue.specs())
    checked = await asyncio.to_thread(check_definition, found.definition, catalogue)
    return found.model_copy(update={"problems": [*found.problems, *checked]})
