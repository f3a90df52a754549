"""What a call cost, from prices of one's own or those bundled with the optional package genai-prices.

The package finds a model and its rates; the multiplication is ours, because `calc_price` takes 133 µs a
call and this under ten (a test compares the two over every model of the data). Prices are never
updated over the network: a newer package has newer prices.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from client.wire.schemas import Usage

from .price_file import OwnPrice, OwnPrices

_MODELS = 1_024  # names remembered, known and unknown
_PER = 1_000_000  # prices are per million tokens
_NONE: OwnPrices = {}

# Rates for what our Usage does not count: with one of them, tokens alone are not the price
_NOT_BY_TOKENS = (
    "requests_kcount",
    "output_reasoning_mtok",
    "output_citation_mtok",
    "input_mchars",
    "input_text_messages_kcount",
)


def cost_usd(
    provider: str, model: str, usage: Usage, *, asked: str | None = None, own: OwnPrices = _NONE
) -> float | None:
    """The cost in US dollars; None where the package is missing, the model or its price is unknown, or the
    provider did not tell the tokens.

    `model` is the one that answered, `asked` the name it was asked by, where that is another. A price of
    one's own wins; else it is the list price. A provider the data does not know (a gateway, a simulator)
    is priced by the model's name. Input read from the provider's cache and input written to it have rates of
    their own; both are part of the input. What Anthropic writes for an hour is reckoned as for five minutes.
    """
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    total, names = usage.input_tokens, (model, asked or model)
    for name in names:
        if price := own.get(f"{provider}/{name}"):
            rates = _own_rates(price)
            break
    else:
        found = _list_rates(provider, names[0]) or _list_rates(provider, names[1])
        if found is None:
            return None
        rates = found
    cached = _apart(usage.cached_input_tokens, rates.get("cache_read_mtok"), total)
    written = _apart(usage.cache_write_tokens, rates.get("cache_write_mtok"), total - cached)
    cost = (
        _rate(rates.get("input_mtok"), total) * (total - cached - written)
        + _rate(rates.get("cache_read_mtok"), total) * cached
        + _rate(rates.get("cache_write_mtok"), total) * written
        + _rate(rates.get("output_mtok"), total) * usage.output_tokens
    )
    return float(cost / _PER)


def per_token_usd(provider: str, model: str, *, own: OwnPrices = _NONE) -> tuple[float, float] | None:
    """US dollars for a token of input and one of output, to reckon with before a call; None if unknown.

    The lowest tier's rates, with nothing cached.
    """
    price = own.get(f"{provider}/{model}")
    rates = _own_rates(price) if price else _list_rates(provider, model)
    if rates is None:
        return None
    read, written = _rate(rates.get("input_mtok"), 0), _rate(rates.get("output_mtok"), 0)
    return float(read / _PER), float(written / _PER)


def load_list_prices() -> None:
    """Reads the list prices now: 50 ms in which the first call, and all beside it, would stand still."""
    _find("openai", "gpt-4o-mini")


def _own_rates(price: OwnPrice) -> dict[str, Any]:
    return {
        "input_mtok": price.input_usd_per_mtok,
        "output_mtok": price.output_usd_per_mtok,
        "cache_read_mtok": price.cached_input_usd_per_mtok,
        "cache_write_mtok": price.cache_write_usd_per_mtok,
    }


def _apart(tokens: int | None, price: Any, total: int) -> int:
    """How many of `total` tokens have that price of their own."""
    return 0 if price is None else min(tokens or 0, total)


def _list_rates(provider: str, model: str) -> dict[str, Any] | None:
    """The rates of now by genai-prices' names; None where tokens alone are not the price."""
    info = _find(provider, model)
    if info is None:
        return None
    # some models are cheaper by night; vars() as reading an absent rate costs a search
    rates: dict[str, Any] = vars(info.get_prices(datetime.now(UTC)))
    if rates.get("input_mtok") is None or any(rates.get(name) is not None for name in _NOT_BY_TOKENS):
        return None
    return rates


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
