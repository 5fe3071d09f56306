"""Settings of trust: who may call, what is sealed, which code runs."""

import re

from pydantic import SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings

from schemas.keyring import KeyRing
from workflows.codec import PayloadEncryption, SealingCodec

_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?")


class TrustSettings(BaseSettings):
    """What identity, encryption and deployments are told by their environment."""

    # Payloads in Temporal. "id:base64,…" like secret_keys, and never the same keys.
    payload_keys: SecretStr | None = None
    payload_encryption: PayloadEncryption = PayloadEncryption.OFF
    # Where Temporal's Web UI is: its pages may ask the codec server.
    temporal_ui_origin: str | None = None

    @field_validator("payload_keys")
    @classmethod
    def _check_payload_keys(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            KeyRing.parse(value.get_secret_value())
        return value

    @field_validator("temporal_ui_origin")
    @classmethod
    def _check_ui_origin(cls, value: str | None) -> str | None:
        if value is not None and not _ORIGIN.fullmatch(value):
            raise ValueError("must be an origin like https://temporal.example.com, without a path")
        return value

    @field_validator("payload_encryption")
    @classmethod
    def _check_encryption(cls, value: PayloadEncryption, info: ValidationInfo) -> PayloadEncryption:
        # Absent from the data when the keys themselves are wrong, which is told already.
        if value != PayloadEncryption.OFF and info.data.get("payload_keys", value) is None:
            raise ValueError("needs SOJOURN_PAYLOAD_KEYS")
        return value

    @property
    def payload_codec(self) -> SealingCodec | None:
        """What seals and opens payloads in Temporal; None where no keys are set."""
        if self.payload_keys is None:
            return None
        ring = KeyRing.parse(self.payload_keys.get_secret_value())
        return SealingCodec(ring, self.payload_encryption)
