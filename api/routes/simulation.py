"""/simulate: what a definition would do, without doing it."""

from typing import Any

from fastapi import APIRouter, Request, Response

from api.dependencies import CatalogueDep
from api.errors import MEDIA_TYPE, problem_response, problems
from api.models.simulation import Simulate, Simulated
from schemas.validation import load_definition

router = APIRouter(tags=["language"])

_NOT_INSTALLED: dict[int | str, dict[str, Any]] = {
    501: {
        "description": "The time-skipping server is not installed beside the API",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetail"}}},
    },
    504: {
        "description": "The simulation did not end in time",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetail"}}},
    },
}


@router.post(
    "/simulate",
    response_model=Simulated,
    responses={**problems(400, 413), **_NOT_INSTALLED},
)
async def simulate(body: Simulate, request: Request, catalogue: CatalogueDep) -> Any:
    """Run one case of a definition on the real interpreter, with fakes and time skipped.

    Nothing is stored and nothing leaves. Simulations run one at a time and within 30 seconds.
    """
    simulator = request.app.state.simulator
    if simulator is None:
        return _not_installed()
    definition = load_definition(body.definition, catalogue)
    return await simulator.simulate(definition, {"name": "simulation", **body.case})


def _not_installed() -> Response:
    return problem_response(
        501,
        "NOT_IMPLEMENTED",
        "the time-skipping server is not installed beside the API",
        hint="pip install 'sojourn[testing]' where the API runs",
    )
