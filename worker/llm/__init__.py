"""Physical LLM calls: the providers, the HTTP beneath them, and what follows a failure."""

from .learn import Learner
from .llm import LLM
from .parts import Part, split
from .price_file import OwnPrices, PriceFileError, read_prices
from .prices import cost_usd, load_list_prices, per_token_usd
from .providers import ChatAnswer, EmbedAnswer, Provider, Route, resolve, summarise
from .rates import SeenRates, seen_rates
from .retries import Again, NextModel, backoff_s, decide, uses_a_try

__all__ = [
    "LLM",
    "Again",
    "ChatAnswer",
    "EmbedAnswer",
    "Learner",
    "NextModel",
    "OwnPrices",
    "Part",
    "PriceFileError",
    "Provider",
    "Route",
    "SeenRates",
    "backoff_s",
    "cost_usd",
    "decide",
    "load_list_prices",
    "per_token_usd",
    "read_prices",
    "resolve",
    "seen_rates",
    "split",
    "summarise",
    "uses_a_try",
]
