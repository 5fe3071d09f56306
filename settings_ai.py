"""Settings of AI: vendors, budgets, the circuit breaker."""

from datetime import timedelta
from decimal import Decimal
from typing import Annotated

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode

from activities.services import AiConfig
from db.ai_breakers import Thresholds
from db.ai_ledger import Allowance
from schemas.keeping import Keep

NotNegative = Annotated[Decimal, Field(ge=0)]


class AiSettings(BaseSettings):
    """What the AI actions are told by their environment; times are in seconds."""

    ai_model: str | None = None
    ai_openai_base_url: str | None = None
    ai_openai_api_key: SecretStr | None = None
    ai_anthropic_base_url: str | None = None
    ai_anthropic_api_key: SecretStr | None = None
    ai_google_base_url: str | None = None
    ai_google_api_key: SecretStr | None = None
    ai_allow_cidrs: Annotated[list[str], NoDecode] = []
    ai_allow_ports: Annotated[list[int], NoDecode] = []
    ai_keep: Keep = Keep.FULL
    ai_budget_daily: Decimal | None = Field(default=None, ge=0, description="USD a workspace")
    ai_tokens_daily: int | None = Field(default=None, ge=0)
    ai_max_tokens: int = Field(default=4096, ge=1)
    ai_prices: dict[str, tuple[NotNegative, NotNegative]] = {}
    ai_breaker_failures: int = Field(default=5, ge=1)
    ai_breaker_window: float = Field(default=60.0, gt=0)
    ai_breaker_open: float = Field(default=30.0, gt=0)
    ai_breaker_probes: int = Field(default=1, ge=1)

    @field_validator("ai_allow_cidrs", "ai_allow_ports", mode="before")
    @classmethod
    def _split_ai(cls, value: object) -> object:
        return split(value)

    @property
    def ai_daily(self) -> Allowance:
        """What a workspace without a budget of its own may spend on AI in a day."""
        return Allowance(usd=self.ai_budget_daily, tokens=self.ai_tokens_daily)

    @property
    def ai(self) -> AiConfig:
        """What the AI actions need to know."""
        return AiConfig(
            openai_base_url=self.ai_openai_base_url,
            openai_api_key=reveal(self.ai_openai_api_key),
            anthropic_base_url=self.ai_anthropic_base_url,
            anthropic_api_key=reveal(self.ai_anthropic_api_key),
            google_base_url=self.ai_google_base_url,
            google_api_key=reveal(self.ai_google_api_key),
            default_model=self.ai_model,
            allow_cidrs=tuple(self.ai_allow_cidrs),
            allow_ports=tuple(self.ai_allow_ports),
            breaker=Thresholds(
                failures=self.ai_breaker_failures,
                window=timedelta(seconds=self.ai_breaker_window),
                open_for=timedelta(seconds=self.ai_breaker_open),
                probes=self.ai_breaker_probes,
            ),
            daily=self.ai_daily,
            prices=self.ai_prices,
            max_tokens=self.ai_max_tokens,
        )


def split(value: object) -> object:
    """Give the parts of a text with commas, as lists are written in an environment."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def reveal(secret: SecretStr | None) -> str | None:
    """Give the value of a secret that may be unset."""
    return None if secret is None else secret.get_secret_value()
