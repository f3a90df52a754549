"""One physical call to a provider: its route, the HTTP beneath it, and its price. No Redis, no retries."""

from .connector import never_connected
from .llm import LLM
from .price_file import OwnPrices, PriceFileError, read_prices
from .prices import cost_usd, load_list_prices, per_token_usd
from .to_the_end import to_the_end

__all__ = [
    "LLM",
    "OwnPrices",
    "PriceFileError",
    "cost_usd",
    "load_list_prices",
    "never_connected",
    "per_token_usd",
    "read_prices",
    "to_the_end",
]
