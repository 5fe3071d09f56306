"""Payload encryption in tests: keys, codecs, and histories as Temporal keeps them."""

import os
from collections.abc import Iterator

from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload
from temporalio.client import WorkflowHistory

from schemas.keyring import KEY_BYTES, KeyRing
from workflows.codec import PayloadEncryption, SealingCodec, is_sealed

# With SOJOURN_TEST_SEALED=1 the whole suite's client and workers seal what they send.
EVERYWHERE = os.environ.get("SOJOURN_TEST_SEALED") == "1"
RING = KeyRing({"payload-test": b"p" * KEY_BYTES})


def sealing(mode: PayloadEncryption = PayloadEncryption.REQUIRED) -> SealingCodec:
    """Give a codec with the suite's payload key."""
    return SealingCodec(RING, mode)


def suite_codec() -> SealingCodec | None:
    """Give the codec of the suite's own client: none unless it was asked for."""
    return sealing() if EVERYWHERE else None


def payloads_of(message: Message, path: str = "") -> Iterator[tuple[str, Payload]]:
    """Walk all payloads in a message of Temporal's, each with where it stands.

    Left out is what nobody seals: search attributes, which the server must read, and what the
    SDK's core notes in markers about a local activity (its id, its type, times).
    """
    if isinstance(message, Payload):
        yield path, message
        return
    for field, value in message.ListFields():
        where = f"{path}.{field.name}"
        if field.name == "search_attributes":
            continue
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            for key, item in value.items():
                if isinstance(item, Message) and not (field.name == "details" and key == "data"):
                    yield from payloads_of(item, f"{where}[{key}]")
        elif isinstance(value, Message):
            yield from payloads_of(value, where)
        else:
            for item in value:
                yield from payloads_of(item, where)


def unsealed(history: WorkflowHistory) -> list[str]:
    """Give where in a history, as Temporal keeps it, a payload is not sealed."""
    return [
        f"{event.event_id} {path}: {payload.data[:80]!r}"
        for event in history.events
        for path, payload in payloads_of(event)
        if not is_sealed(payload)
    ]
