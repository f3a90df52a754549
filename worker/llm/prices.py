"""What a call cost, from the prices bundled with the optional package genai-prices.

The package finds a model and its rates; the multiplication is ours, because `calc_price` takes 133 µs a
call and this under ten (a test compares the two over every model of the data). Prices are never
updated over the network: a newer package has newer prices.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from client.schemas import Usage

_MODELS = 1_024  # names remembered, known and unknown
_PER = 1_000_000  # prices are per million tokens

# Rates for what our Usage does not count: with one of them, tokens alone are not the price
_NOT_BY_TOKENS = (
    "requests_kcount",
    "output_reasoning_mtok",
    "output_citation_mtok",
    "input_mchars",
    "input_text_messages_kcount",
)


def cost_usd(provider: str, model: str, usage: Usage) -> float | None:
    """The cost in US dollars at list price; None where the package is missing, the model or its price is
    unknown, or the provider did not tell the tokens.

    A provider the data does not know (a gateway, a simulator) is priced by the model's name. Cached input
    has its own rate; writing Anthropic's cache costs a quarter more than is reckoned here.
    """
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    info = _find(provider, model)
    if info is None:
        return None
    # some models are cheaper by night; vars() as reading an absent rate costs a search
    rates = vars(info.get_prices(datetime.now(UTC)))
    if rates.get("input_mtok") is None or any(rates.get(name) is not None for name in _NOT_BY_TOKENS):
        return None
    total = usage.input_tokens
    cached = min(usage.cached_input_tokens or 0, total) if rates.get("cache_read_mtok") is not None else 0
    cost = (
        _rate(rates.get("input_mtok"), total) * (total - cached)
        + _rate(rates.get("cache_read_mtok"), total) * cached
        + _rate(rates.get("output_mtok"), total) * usage.output_tokens
    )
    return float(cost / _PER)


def _rate(price: Any, input_tokens: int) -> Decimal:
    """The rate in force: above a tier's start, all tokens pay the tier's rate."""
    if price is None:
        return Decimal(0)
    rate: Decimal = getattr(price, "base", price)
    for tier in getattr(price, "tiers", ()):  # ascending
        if input_tokens > tier.start:
            rate = tier.price
    return rate


@lru_cache(_MODELS)
def _find(provider: str, model: str) -> Any:
    """genai-prices' ModelInfo, or None."""
    try:
        from genai_prices import data_snapshot
    except ImportError:
        return None
    snapshot = data_snapshot.get_snapshot()
    names = [(model, provider), (model, None), (model, "openai")]  # by name alone it finds no embeddings
    if "/" in model:  # gateways: openai/gpt-4o at a provider called openrouter
        names.append((model.rpartition("/")[2], None))
    for name, provider_id in names:
        try:
            return snapshot.find_provider_model(name, None, provider_id, None)[1]
        except LookupError:
            continue
    return None
