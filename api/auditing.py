"""The audit of requests: what changes something leaves an entry, or says here why it does not."""

from fastapi import Request
from sqlmodel.ext.asyncio.session import AsyncSession

from api.identity import Identity
from db import audit

_NOTHING = "it changes nothing"
_DOOR = "anybody's: what comes in is kept as a row of its own, and a run it starts has its entry"
# Operations that leave none, with the reason.
UNAUDITED: dict[str, str] = {
    "decode_payloads": _NOTHING,
    "encode_payloads": _NOTHING,
    "import_graph": _NOTHING,
    "preview_template": _NOTHING,
    "publish_event": "an event is a row of its own, with the request's id",
    "receive_delivery": _DOOR,
    "receive_mail": _DOOR,
    "sign_out_of_codec": _NOTHING,
    "simulate": _NOTHING,
    "submit_form": _DOOR,
    "unsubscribe_now": _DOOR,
    "validate_definition": _NOTHING,
}
_READING = ("GET", "HEAD", "OPTIONS")


def note(request: Request, session: AsyncSession) -> None:
    """Add an entry for a request that has changed something and left none itself.

    Its action is the operation's id, its subject what the address names. To be called in the
    request's transaction before the commit.
    """
    operation: str = request.scope["route"].name
    if request.method in _READING or operation in UNAUDITED or audit.written():
        return
    identity: Identity | None = getattr(request.state, "identity", None)
    if identity is None:
        raise AssertionError(
            f"{operation} changes something and is anybody's: say why in UNAUDITED"
        )
    audit.add(
        session,
        identity.workspace,
        actor=identity.actor,
        action=operation,
        subject="/".join(str(value) for value in request.path_params.values()) or operation,
    )
