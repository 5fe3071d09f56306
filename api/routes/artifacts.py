"""GET /runs/{id}/artifacts: what steps gave that was too large for their outputs."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Path, Response

from api.dependencies import SessionDep, WorkspaceDep
from api.errors import problems
from api.models.common import RunPath
from api.models.runs import ArtifactView
from db import artifacts, runs

router = APIRouter(tags=["runs"], prefix="/runs/{run_id}/artifacts")

ArtifactPath = Annotated[str, Path(min_length=1, max_length=64, description="the artifact's id")]
# Bytes of other servers: no browser may take them for a page of this one.
_HEADERS = {
    "Content-Disposition": "attachment",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
}
_HARMLESS = frozenset({"application/json", "text/plain", "text/csv"})


@router.get("", responses=problems(404))
async def list_artifacts(
    run_id: RunPath, session: SessionDep, workspace: WorkspaceDep
) -> list[ArtifactView]:
    """The artifacts of a run, the first first; they go when the run goes."""
    await runs.get(session, workspace, run_id)
    found = await artifacts.of_run(session, workspace, run_id)
    return [ArtifactView(**asdict(one)) for one in found]


@router.get(
    "/{artifact_id}",
    response_class=Response,
    responses={
        200: {
            "description": "The bytes as they came, of JSON and text under their own type",
            "content": {"application/octet-stream": {}},
        },
        **problems(404),
    },
)
async def get_artifact(
    run_id: RunPath, artifact_id: ArtifactPath, session: SessionDep, workspace: WorkspaceDep
) -> Response:
    """The bytes of one artifact."""
    found = await artifacts.get(session, workspace, run_id, artifact_id)
    kind = found.content_type.partition(";")[0].strip().lower()
    media = kind if kind in _HARMLESS else "application/octet-stream"
    headers = {**_HEADERS, "ETag": f'"{found.sha256}"'}
    return Response(found.content, media_type=media, headers=headers)
