"""/metrics: the text exposition of Temporal's SDK metrics and our own."""

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from api.dependencies import ConfigDep
from api.errors import problems

router = APIRouter(tags=["process"])


class MetricsResponse(PlainTextResponse):
    """Text in Prometheus' exposition format."""

    media_type = "text/plain; version=0.0.4"


@router.get("/metrics", response_class=MetricsResponse, responses=problems())
def get_metrics(config: ConfigDep) -> MetricsResponse:
    """The metrics of this process; a plain `def`, because rendering them blocks."""
    return MetricsResponse(config.render_metrics())
