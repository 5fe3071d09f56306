"""Payloads as Temporal's Web UI and CLI send them to a codec server: protobuf's JSON form."""

import base64
from typing import Annotated, Any

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field
from temporalio.api.common.v1 import Payload

MAX_PAYLOADS = 2000
# Of a body: a page of a history; single payloads are up to 2 MiB.
MAX_BYTES = 8 * 1024 * 1024


class CodecPayload(BaseModel):
    """One payload; what else stands in it is handed back as it came."""

    model_config = ConfigDict(extra="allow")

    metadata: dict[str, Base64Bytes] = Field(default={}, description="values in base64")
    data: Base64Bytes = Field(default=b"", description="base64")

    def payload(self) -> Payload:
        """Give it as Temporal's."""
        return Payload(metadata=self.metadata, data=self.data)


class CodecBody(BaseModel):
    """Payloads to open or to seal; an answer has as many, in the same order."""

    payloads: Annotated[list[CodecPayload], Field(max_length=MAX_PAYLOADS)]


class CodecAnswer(BaseModel):
    """Payloads in the same form."""

    payloads: list[dict[str, Any]]


def written(payload: Payload) -> dict[str, Any]:
    """Write a payload in protobuf's JSON form."""
    metadata = {name: _text(value) for name, value in payload.metadata.items()}
    return {"metadata": metadata, "data": _text(payload.data)}


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()
