"""Connecting to Temporal, and what a namespace needs before the first run."""

from collections.abc import Sequence
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.client import Client, Interceptor, TLSConfig
from temporalio.contrib.pydantic import PydanticJSONPlainPayloadConverter
from temporalio.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultFailureConverter,
    DefaultFailureConverterWithEncodedAttributes,
    DefaultPayloadConverter,
    EncodingPayloadConverter,
    JSONPlainPayloadConverter,
)
from temporalio.runtime import Runtime
from temporalio.service import RPCError, RPCStatusCode

from workflows.codec import REFUSED, PayloadEncryption, PayloadRefusedError, SealingCodec
from workflows.search import DEFINITION_VERSION, LEAD, RUN_STATUS, WORKSPACE

_INDEXED = {
    WORKSPACE.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    DEFINITION_VERSION.name: IndexedValueType.INDEXED_VALUE_TYPE_INT,
    RUN_STATUS.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    LEAD.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
}


# One JSON converter for the process: the SDK makes a composite converter for every workflow, and a
# JSON converter of its own in each would build its type adapters again.
_JSON = PydanticJSONPlainPayloadConverter()


class _RefusedConverter(EncodingPayloadConverter):
    """Raises when a payload is used that the codec refused."""

    @property
    def encoding(self) -> str:
        return REFUSED.decode()

    def to_payload(self, value: Any) -> Payload | None:  # noqa: ARG002
        return None

    def from_payload(self, payload: Payload, type_hint: type[Any] | None = None) -> Any:  # noqa: ARG002
        raise PayloadRefusedError(payload.data.decode())


_REFUSED = _RefusedConverter()


class _SharedConverter(CompositePayloadConverter):
    def __init__(self) -> None:
        super().__init__(
            *(
                _JSON if isinstance(converter, JSONPlainPayloadConverter) else converter
                for converter in DefaultPayloadConverter.default_encoding_payload_converters
            ),
            _REFUSED,
        )


DATA_CONVERTER = DataConverter(payload_converter_class=_SharedConverter)


def converter_with(codec: SealingCodec | None) -> DataConverter:
    """Give the data converter that seals with `codec`, messages and traces of failures as well."""
    if codec is None:
        return DATA_CONVERTER
    return DataConverter(
        payload_converter_class=_SharedConverter,
        payload_codec=codec,
        failure_converter_class=DefaultFailureConverter
        if codec.mode == PayloadEncryption.OFF
        else DefaultFailureConverterWithEncodedAttributes,
    )


async def connect(
    address: str,
    namespace: str = "default",
    *,
    api_key: str | None = None,
    tls: bool | TLSConfig = False,
    lazy: bool = False,
    runtime: Runtime | None = None,
    codec: SealingCodec | None = None,
    interceptors: Sequence[Interceptor] = (),
) -> Client:
    """Connect with the Pydantic data converter; `lazy` connects at the first call.

    With a `codec` payloads are sealed; all processes of an installation need the same. A worker of
    the client has its `interceptors` too.
    """
    return await Client.connect(
        address,
        namespace=namespace,
        api_key=api_key,
        tls=tls or bool(api_key),
        lazy=lazy,
        runtime=runtime,
        data_converter=converter_with(codec),
        interceptors=interceptors,
    )


async def prepare_namespace(client: Client) -> None:
    """Register Sojourn's search attributes where they are missing.

    Without them the first upsert fails its workflow task again and again.
    """
    for name, kind in _INDEXED.items():
        request = AddSearchAttributesRequest(
            namespace=client.namespace, search_attributes={name: kind}
        )
        try:
            await client.operator_service.add_search_attributes(request)
        except RPCError as error:
            if error.status != RPCStatusCode.ALREADY_EXISTS:
                raise
