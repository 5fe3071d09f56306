"""POST /hooks/{token}: the public door through which outside systems deliver."""

from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Path, Request, Response
from fastapi.responses import JSONResponse

from api.auth import public
from api.correlation import request_id
from api.dependencies import DatabaseDep
from api.errors import problems
from api.hooking import HOOK_BODY, headers_of, prove, read_secrets
from api.models.webhooks import ChallengeAnswer, HookAnswer
from api.outbox import Outbox
from api.raw_body import read_body
from api.routes.runs import StarterDep
from api.signatures import SchemeError, SignatureError
from db import tenancy, triggers, webhooks
from db.webhook_table import DeliveryStatus
from schemas.errors import ConflictError, InputError
from schemas.keyring import SealError
from schemas.webhook_bodies import read_json
from schemas.webhooks import MAX_BODY_BYTES, SlackScheme, WebhookTrigger

router = APIRouter(tags=["webhooks"])


@router.post(
    "/hooks/{token}",
    status_code=202,
    responses={
        200: {
            "model": HookAnswer | ChallengeAnswer,
            "description": "It came before, is ignored, or asked for a challenge",
        },
        **problems(401, 404, 409, 413, 429, closed=False),
    },
    openapi_extra=HOOK_BODY,
)
@public
async def receive_delivery(
    token: Annotated[str, Path(min_length=1, max_length=128, description="the webhook's token")],
    request: Request,
    database: DatabaseDep,
    starter: StarterDep,
    response: Response,
    after: BackgroundTasks,
) -> HookAnswer:
    """Take a delivery: once answered, its run starts however long Temporal is away.

    A copy gets the answer of the first. What cannot be mapped is kept as `failed` and answered
    202 all the same, since sending it again would change nothing: mend the trigger, replay it.
    """
    with tenancy.system():
        async with database.session() as session:
            trigger = await webhooks.find_trigger(session, token)
    tenancy.enter(trigger.workspace)
    starter = starter.of(trigger.workspace)
    config = webhooks.webhook_of(trigger)
    body = await read_body(request, MAX_BODY_BYTES)
    try:
        async with database.session() as session:
            given = await read_secrets(
                session, trigger.workspace, config, request.app.state.keyring
            )
        proof = prove(config, given, request, body)
    except SignatureError as error:
        async with database.session() as session:
            await webhooks.reject(session, trigger, error.message)
        raise
    except (SchemeError, SealError) as error:
        # The sender sees a fault of ours, and tries again once the owner has mended it.
        async with database.session() as session:
            await triggers.note(session, trigger, f"{error.code}: {error.message}")
        raise
    if not trigger.enabled:
        raise ConflictError("the webhook is disabled", hint="its owner can enable it")
    if (challenge := _challenge(config, body)) is not None:
        return JSONResponse({"challenge": challenge})  # pyright: ignore[reportReturnType]
    incoming = webhooks.Incoming(
        headers=headers_of(config, request),
        query=request.url.query,
        body=body,
        id=proof.id,
        id_signed=proof.id_signed,
        timestamp=proof.timestamp,
    )
    async with database.session() as session:
        taken = await webhooks.take(session, trigger, config, incoming, correlation_id=request_id())
    if taken.forward is not None:
        after.add_task(Outbox(starter).forward, taken.forward)
    delivery = taken.delivery
    if taken.duplicate or delivery.status is DeliveryStatus.IGNORED:
        response.status_code = 200
    return HookAnswer(
        delivery_id=delivery.id,
        status=delivery.status,
        run_id=delivery.run_id,
        duplicate=taken.duplicate,
    )


def _challenge(config: WebhookTrigger, body: bytes) -> str | None:
    """Give what Slack wants to read back when an address is entered; None for anything else."""
    if not isinstance(config.verify, SlackScheme):
        return None
    try:
        value = read_json(body.decode())
    except (InputError, UnicodeDecodeError):
        return None
    if not isinstance(value, dict) or value.get("type") != "url_verification":
        return None
    challenge = value.get("challenge")
    return challenge if isinstance(challenge, str) else None
