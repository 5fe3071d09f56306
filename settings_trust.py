"""Settings of trust: who may call, what is sealed, which code runs."""

from pydantic_settings import BaseSettings


class TrustSettings(BaseSettings):
    """What identity, encryption and deployments are told by their environment."""
