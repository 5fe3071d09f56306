"""/metrics: the text exposition of Temporal's SDK metrics and our own."""

import asyncio

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse

from api.dependencies import ConfigDep
from api.errors import problems
from api.queue_gauges import QueueGauges

router = APIRouter(tags=["process"])


class MetricsResponse(PlainTextResponse):
    """Text in Prometheus' exposition format."""

    media_type = "text/plain; version=0.0.4"


@router.get("/metrics", response_class=MetricsResponse, responses=problems())
async def get_metrics(config: ConfigDep, request: Request) -> MetricsResponse:
    """The metrics of this process, and how full the queues are."""
    gauges: QueueGauges = request.app.state.queue_gauges
    # In a thread: rendering blocks.
    own, queues = await asyncio.gather(asyncio.to_thread(config.render_metrics), gauges.render())
    return MetricsResponse(own + queues)
