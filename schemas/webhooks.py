"""Webhooks: what a webhook trigger says."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from schemas import cel
from schemas.step_base import Expression
from schemas.trigger_base import InputTrigger


class WebhookTrigger(InputTrigger):
    """Starts a run for each delivery that an outside system posts."""

    SCOPE: ClassVar[dict[str, cel.Type]] = {
        "body": cel.DYN,
        "headers": cel.DYN,
        "query": cel.DYN,
        "delivery": cel.object_type({"id": cel.STRING, "received_at": cel.STRING}),
    }

    kind: Literal["webhook"]
    where: Annotated[Expression, Field(max_length=4096)] | None = Field(
        default=None,
        description="CEL over `body`, `headers`, `query` and `delivery`",
        examples=["body.action == 'opened'"],
    )
