"""Physical LLM calls: the providers, the HTTP beneath them, and what follows a failure."""

from .llm import LLM
from .prices import cost_usd
from .providers import ChatAnswer, EmbedAnswer, Provider, Route, resolve, summarise
from .retries import Again, backoff_s, decide, uses_a_try

__all__ = [
    "LLM",
    "Again",
    "ChatAnswer",
    "EmbedAnswer",
    "Provider",
    "Route",
    "backoff_s",
    "cost_usd",
    "decide",
    "resolve",
    "summarise",
    "uses_a_try",
]
