"""Where models are and how tightly they are kept; the settings fill it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from db.ai_breakers import Thresholds
from db.ai_ledger import Allowance


@dataclass(frozen=True, slots=True)
class AiConfig:
    """Where models are; without a base URL the vendor's own.

    The host of a base URL may be internal: the operator named it. `allow_cidrs` and `allow_ports`
    open internal networks, and ports other than 80 and 443, to the addresses that connections
    name. `default_model` is used by steps that name none, as `provider:model`. `daily` is what a
    workspace may spend in a day (UTC) where it has no budget of its own. `prices` are USD for a
    million tokens of input and output, by `provider:model`, above the known ones. `max_tokens`
    cuts the answers of steps that say nothing themselves, but only where a budget has to know how
    long they can get.
    """

    openai_base_url: str | None = None
    openai_api_key: str | None = field(default=None, repr=False)
    anthropic_base_url: str | None = None
    anthropic_api_key: str | None = field(default=None, repr=False)
    google_base_url: str | None = None
    google_api_key: str | None = field(default=None, repr=False)
    default_model: str | None = None
    allow_cidrs: tuple[str, ...] = ()
    allow_ports: tuple[int, ...] = ()
    breaker: Thresholds = field(default_factory=Thresholds)
    daily: Allowance = field(default_factory=Allowance)
    prices: Mapping[str, tuple[Decimal, Decimal]] = field(default_factory=dict)
    max_tokens: int = 4096

    def access(self, provider: str) -> tuple[str | None, str | None]:
        """Give base URL and key of a provider; KeyError for another than the three."""
        return {
            "openai": (self.openai_base_url, self.openai_api_key),
            "anthropic": (self.anthropic_base_url, self.anthropic_api_key),
            "google": (self.google_base_url, self.google_api_key),
        }[provider]

    @property
    def base_urls(self) -> list[str]:
        """The addresses that the operator named."""
        named = (self.openai_base_url, self.anthropic_base_url, self.google_base_url)
        return [url for url in named if url]

    @property
    def configured(self) -> bool:
        """True if any provider can be asked without a connection."""
        keys = (self.openai_api_key, self.anthropic_api_key, self.google_api_key)
        return bool(self.base_urls) or any(keys)
