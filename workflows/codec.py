"""Payloads are sealed before they leave the process: Temporal keeps what it cannot read.

A sealed payload is bound to its namespace and workflow id: copied into another workflow it does
not open. Its metadata names the key and that workflow, in the clear and authenticated; workers and
clients never go by it, they bind to the workflow that they speak of themselves.
"""

import re
import struct
import zlib
from collections.abc import Sequence
from enum import StrEnum
from typing import Self

from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    ActivitySerializationContext,
    PayloadCodec,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)

from schemas.keyring import KeyRing, Sealed, SealError

SEALED = b"sojourn/sealed"
REFUSED = b"sojourn/refused"
# Bytes from which on a payload is compressed, and beyond which neither side compresses or inflates.
COMPRESSED_FROM = 4 * 1024
MAX_INFLATED = 16 * 1024 * 1024
_FORMAT = b"sojourn.payload.1"
_PLAIN, _DEFLATED = b"\x00", b"\x01"
# Speed before size: level 1 takes a third of the time of 6 for a tenth more bytes.
_LEVEL = 1
# Temporal appends the due time to the id of what a schedule starts; ids of our own schedules begin
# like this, and no run's id ends in a time.
_SCHEDULED = re.compile(r"(sojourn/.+)-\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


class PayloadEncryption(StrEnum):
    """What is done with payloads where keys are set; every mode opens what is sealed.

    `accept_plaintext` seals what it writes and reads either, so that an installation can change
    over while runs are open; `required` refuses what is not sealed.
    """

    OFF = "off"
    ACCEPT_PLAINTEXT = "accept_plaintext"
    REQUIRED = "required"


class PayloadRefusedError(ValueError):
    """A payload is not sealed, not for this workflow, altered, or its key is missing.

    Not a failure that ends runs: with the right keys and mode they go on where they stopped.
    """


def binding(namespace: str, workflow_id: str) -> bytes:
    """Give the associated data of a workflow's payloads.

    All workflows of one schedule share one binding: its input is sealed before their ids are
    known, and Temporal hands the result of one on to the next.
    """
    scheduled = _SCHEDULED.fullmatch(workflow_id)
    parts = (_FORMAT, namespace.encode(), (scheduled[1] if scheduled else workflow_id).encode())
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


class SealingCodec(PayloadCodec, WithSerializationContext):
    """Seals and opens payloads under a key ring; bound by `with_context` to one workflow."""

    def __init__(
        self,
        ring: KeyRing,
        mode: PayloadEncryption,
        *,
        namespace: str | None = None,
        workflow_id: str | None = None,
    ) -> None:
        """Use the current key of `ring` to seal and all of them to open."""
        self._ring = ring
        self.mode = mode
        self._namespace = namespace
        self._workflow_id = workflow_id

    @property
    def ring(self) -> KeyRing:
        """The keys."""
        return self._ring

    def with_context(self, context: SerializationContext) -> Self:
        """Give a codec for the workflow of a context; activities have that of theirs."""
        namespace: str | None = None
        workflow_id: str | None = None
        if isinstance(context, WorkflowSerializationContext | ActivitySerializationContext):
            namespace, workflow_id = context.namespace, context.workflow_id
        if (namespace, workflow_id) == (self._namespace, self._workflow_id):
            return self
        return type(self)(self._ring, self.mode, namespace=namespace, workflow_id=workflow_id)

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Seal payloads, unless encryption is off; raises PayloadRefusedError without a context."""
        if self.mode == PayloadEncryption.OFF:
            return list(payloads)
        if not self._namespace or not self._workflow_id:
            raise PayloadRefusedError("a payload of no workflow cannot be sealed")
        return [self._sealed(each, self._namespace, self._workflow_id) for each in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Open payloads; a refused one becomes a payload that no converter reads.

        So only what would use it fails: a signal of a stranger is dropped, and the run goes on.
        """
        return [self._opened(each) for each in payloads]

    def open_for(self, payload: Payload, namespace: str, workflow_id: str) -> Payload:
        """Open one sealed payload of a workflow; raises PayloadRefusedError."""
        key_id = payload.metadata["key"].decode("utf-8", "replace")
        try:
            plain = self._ring.open(Sealed(key_id, payload.data), binding(namespace, workflow_id))
        except SealError:
            what = (
                "it was altered, belongs to another workflow, or that key has changed"
                if key_id in self._ring.key_ids
                else "that key is not in the ring"
            )
            raise PayloadRefusedError(
                f"a payload sealed with the key {key_id!r} does not open in {workflow_id!r}: {what}"
            ) from None
        return _unpacked(plain)

    def _sealed(self, payload: Payload, namespace: str, workflow_id: str) -> Payload:
        if payload.metadata.get("encoding") == REFUSED:
            raise PayloadRefusedError("a refused payload cannot be passed on")
        sealed = self._ring.seal(_packed(payload), binding(namespace, workflow_id))
        metadata = {
            "encoding": SEALED,
            "key": sealed.key_id.encode(),
            "workflow": workflow_id.encode(),
        }
        return Payload(metadata=metadata, data=sealed.data)

    def _opened(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") != SEALED:
            if self.mode == PayloadEncryption.REQUIRED:
                return _refused("a payload is not sealed; this installation takes sealed ones only")
            return payload
        if not self._namespace or not self._workflow_id:
            return _refused("a sealed payload came without the workflow that it belongs to")
        try:
            return self.open_for(payload, self._namespace, self._workflow_id)
        except PayloadRefusedError as error:
            return _refused(str(error))


def is_sealed(payload: Payload) -> bool:
    """Tell whether a payload is one of ours."""
    return payload.metadata.get("encoding") == SEALED


def _packed(payload: Payload) -> bytes:
    plain = payload.SerializeToString()
    if COMPRESSED_FROM <= len(plain) <= MAX_INFLATED:
        small = zlib.compress(plain, _LEVEL)
        if len(small) < len(plain):
            return _DEFLATED + small
    return _PLAIN + plain


def _unpacked(packed: bytes) -> Payload:
    form, body = packed[:1], packed[1:]
    try:
        if form == _DEFLATED:
            inflating = zlib.decompressobj()
            body = inflating.decompress(body, MAX_INFLATED)
            if not inflating.eof:
                raise PayloadRefusedError(f"a payload is over {MAX_INFLATED} bytes when inflated")
        elif form != _PLAIN:
            raise PayloadRefusedError("a payload is of a format that this version does not know")
        return Payload.FromString(body)
    except (zlib.error, DecodeError) as error:
        raise PayloadRefusedError("a payload opens, but its content is not a payload") from error


def _refused(reason: str) -> Payload:
    return Payload(metadata={"encoding": REFUSED}, data=reason.encode())
