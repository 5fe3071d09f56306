"""Settings of trust: who may call, what is sealed, which code runs."""

import re
from typing import Self

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings

from api.tokens import OidcConfig
from schemas.keyring import KeyRing
from schemas.run import REVISION
from workflows.codec import PayloadEncryption, SealingCodec
from workflows.deployment import Deployment

_URL = r"^https?://[^\s/?#@]+[^\s?#]*$"
_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?")


class TrustSettings(BaseSettings):
    """What identity, encryption and deployments are told by their environment."""

    # Calls of one key or user, and of a workspace, a minute; bad credentials of an address.
    rate_limit_per_key: int = Field(default=6_000, ge=1)
    rate_limit_per_workspace: int = Field(default=30_000, ge=1)
    rate_limit_failures: int = Field(default=60, ge=1)
    # Whose tokens users carry. Its keys are where the discovery document says, unless given.
    oidc_issuer: str | None = Field(default=None, pattern=_URL)
    oidc_audience: str | None = None
    oidc_jwks_url: str | None = Field(default=None, pattern=_URL)
    oidc_workspace_claim: str = "sojourn_workspace"
    oidc_role_claim: str = "sojourn_role"

    # Worker Deployment Versioning: off without a name.
    deployment_name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_-]{1,100}$")
    deployment_build: str | None = Field(default=None, pattern=r"^[A-Za-z0-9._-]{1,100}$")
    deployment_pinned: bool = False
    # What runs that start here are begun with: an older one while older workers are about.
    interpreter_revision: int = Field(default=REVISION, ge=1, le=REVISION)

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
    def oidc(self) -> OidcConfig | None:
        """Whose tokens are taken; None where no issuer is set."""
        if self.oidc_issuer is None or self.oidc_audience is None:
            return None
        return OidcConfig(
            issuer=self.oidc_issuer,
            audience=self.oidc_audience,
            jwks_url=self.oidc_jwks_url,
            workspace_claim=self.oidc_workspace_claim,
            role_claim=self.oidc_role_claim,
        )

    @model_validator(mode="after")
    def _check_oidc(self) -> Self:
        if (self.oidc_issuer is None) != (self.oidc_audience is None):
            raise ValueError("SOJOURN_OIDC_ISSUER and SOJOURN_OIDC_AUDIENCE belong together")
        return self

    @model_validator(mode="after")
    def _check_deployment(self) -> Self:
        if (self.deployment_name is None) != (self.deployment_build is None):
            raise ValueError("SOJOURN_DEPLOYMENT_NAME and SOJOURN_DEPLOYMENT_BUILD belong together")
        return self

    @property
    def deployment(self) -> Deployment | None:
        """Under which name and build workers poll; None where they are not versioned."""
        if self.deployment_name is None or self.deployment_build is None:
            return None
        return Deployment(self.deployment_name, self.deployment_build, self.deployment_pinned)

    @property
    def payload_codec(self) -> SealingCodec | None:
        """What seals and opens payloads in Temporal; None where no keys are set."""
        if self.payload_keys is None:
            return None
        ring = KeyRing.parse(self.payload_keys.get_secret_value())
        return SealingCodec(ring, self.payload_encryption)
