"""/codec: opens and seals payloads for Temporal's Web UI and CLI (its "remote codec" protocol)."""

from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Header
from temporalio.api.common.v1 import Payload

from api.dependencies import GatewayDep, IdentityDep
from api.errors import problems
from api.identity import Identity
from api.models.codec import CodecAnswer, CodecBody, CodecPayload, written
from schemas.errors import ConflictError, ErrorCode, InputError, NotFoundError, SojournError
from workflows.codec import PayloadRefusedError, is_sealed
from workflows.opening import PayloadDesk, claimed_workflow, workspace_of

# Of one answer: a small sealed payload may hold a large one.
MAX_OPENED = 32 * 1024 * 1024
router = APIRouter(tags=["process"], prefix="/codec")
_log = structlog.get_logger(__name__)

Namespace = Annotated[
    str | None, Header(alias="X-Namespace", max_length=255, description="sent by Temporal's tools")
]
WorkflowId = Annotated[
    str,
    Header(alias="X-Workflow-Id", max_length=1000, description="whose payloads they will be"),
]


@router.post("/decode", responses=problems(400, 403, 404, 409, 413))
async def decode_payloads(
    body: CodecBody, identity: IdentityDep, gateway: GatewayDep, namespace: Namespace = None
) -> CodecAnswer:
    """Open sealed payloads of the caller's workspace; others come back as they came.

    Each opened payload names, in the metadata `sojourn-workflow`, the workflow that it is bound to:
    one that was copied elsewhere in Temporal shows by that. One that does not open is replaced by
    the reason. 404 for payloads of another workspace or namespace, 409 where no keys are set.
    """
    desk = _desk(gateway.payloads, namespace)
    room = MAX_OPENED
    answers = []
    for each in body.payloads:
        answer, size = _opened(desk, identity, each)
        room -= size
        if room < 0:
            raise SojournError(
                f"the payloads have more than {MAX_OPENED} bytes when opened",
                code=ErrorCode.LIMIT_EXCEEDED,
            )
        answers.append(answer)
    return CodecAnswer(payloads=answers)


@router.post("/encode", responses=problems(400, 403, 404, 409, 413))
async def encode_payloads(
    body: CodecBody,
    workflow_id: WorkflowId,
    identity: IdentityDep,
    gateway: GatewayDep,
    namespace: Namespace = None,
) -> CodecAnswer:
    """Seal payloads for one workflow of the caller's workspace, as its own processes would.

    A payload opens only in the workflow that it is sealed for, so the caller names it. Temporal's
    Web UI does not: signals and inputs that carry data are sent through this API instead.
    """
    desk = _desk(gateway.payloads, namespace)
    _own(identity, workflow_id)
    if any(is_sealed(each.payload()) for each in body.payloads):
        raise InputError("a payload is sealed already")
    sealed = await desk.seal([each.payload() for each in body.payloads], workflow_id)
    _log.info("payloads_sealed", workflow_id=workflow_id, count=len(sealed))
    return CodecAnswer(payloads=[written(each) for each in sealed])


def _opened(
    desk: PayloadDesk, identity: Identity, given: CodecPayload
) -> tuple[dict[str, Any], int]:
    payload = given.payload()
    if not is_sealed(payload):
        return {**(given.model_extra or {}), **written(payload)}, len(payload.data)
    workflow_id = claimed_workflow(payload)
    _own(identity, workflow_id)
    try:
        opened = desk.open(payload)
    except PayloadRefusedError as error:
        _log.warning("payload_refused", workflow_id=workflow_id, error=str(error))
        opened = Payload(metadata={"encoding": b"json/plain"}, data=b'"not opened: see the log"')
    opened.metadata["sojourn-workflow"] = workflow_id.encode()
    return written(opened), len(opened.data)


def _desk(desk: PayloadDesk, namespace: str | None) -> PayloadDesk:
    if desk.codec is None:
        raise ConflictError(
            "this installation has no keys for payloads",
            hint="set SOJOURN_PAYLOAD_KEYS; see docs/encryption.md",
        )
    if namespace is not None and namespace != desk.namespace:
        raise NotFoundError("this is not the namespace of this installation")
    return desk


def _own(identity: Identity, workflow_id: str) -> None:
    if workspace_of(workflow_id) != identity.workspace:
        raise NotFoundError("there is no such workflow in this workspace")
