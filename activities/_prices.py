"""What calls to models cost, in USD: the operator's own prices, then those of genai-prices.

Only `activities._models` imports this module: the list of prices is large.
"""

from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any

from genai_prices import Usage, calc_price

from activities._questions import Endpoint, Question
from db.base import dump_json

# Tokens of English are about four bytes, of other scripts two or three: half of the bytes is an
# upper estimate of what people write. Each message and tool is framed by a few tokens more.
_BYTES_A_TOKEN = 2
_FRAME = 16
_MILLION = Decimal(1_000_000)

# By `provider:name`: USD for a million tokens of input, and of output.
Prices = Mapping[str, tuple[Decimal, Decimal]]


def cost(own: Prices, endpoint: Endpoint, usage: Any, model: str | None = None) -> Decimal | None:
    """Give the price of a call that used `usage`; None for a model without a known price.

    `model` is the name that the provider answered with, where it did.
    """
    for name in (model, endpoint.model):
        listed = own.get(f"{endpoint.provider}:{name}")
        if listed is not None:
            return (usage.input_tokens * listed[0] + usage.output_tokens * listed[1]) / _MILLION
    for name in (model, endpoint.model):
        if name is not None:
            found = _known(endpoint, name, usage)
            if found is not None:
                return found
    return None


def _known(endpoint: Endpoint, name: str, usage: Any) -> Decimal | None:
    """Look into the list of the server at the address, then into the vendor's own.

    A server of one's own under a vendor's model name most often is a gateway to the vendor.
    """
    if endpoint.base_url:
        with suppress(LookupError):
            return calc_price(usage, name, provider_api_url=endpoint.base_url).total_price
    with suppress(LookupError):
        return calc_price(usage, name, provider_id=endpoint.provider).total_price
    return None


def input_estimate(question: Question) -> int:
    """Give an upper estimate of the tokens that a question is."""
    parts = [dump_json(dict(message)) for message in question.messages]
    parts += [dump_json([tool.name, tool.description, tool.parameters]) for tool in question.tools]
    parts += [question.system or "", dump_json(question.schema)]
    return sum(len(part.encode()) // _BYTES_A_TOKEN + _FRAME for part in parts)


def estimate(own: Prices, endpoint: Endpoint, tokens: tuple[int, int]) -> Decimal | None:
    """Give the price of so many tokens of input and output."""
    return cost(own, endpoint, Usage(input_tokens=tokens[0], output_tokens=tokens[1]))
