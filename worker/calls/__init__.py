"""One physical call to a provider: its route, the HTTP beneath it, and its price. No Redis, no retries."""

from .llm import LLM
from .price_file import OwnPrices, PriceFileError, read_prices
from .prices import cost_usd, load_list_prices, per_token_usd

__all__ = [
    "LLM",
    "OwnPrices",
    "PriceFileError",
    "cost_usd",
    "load_list_prices",
    "per_token_usd",
    "read_prices",
]
