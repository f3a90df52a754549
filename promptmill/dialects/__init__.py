"""What providers say, in both directions, as pure translations: their forms ↔ our neutral ones. No I/O.

openai/ anthropic/ gemini/   ask.py: a request goes out · answer.py: a reply comes in · the class joins them
base.py                      what a dialect is: `Provider`, and where a request goes: `Route`
reader.py, sse.py            bytes → frames → JSON objects, however well a host writes them
stream.py                    objects → deltas → an answer
refusals.py, refuse.py       a refusal → the class of its error, and its sentence

Imports of ours only client.errors, client.wire and client.limits.rules, and of httpx only its URL. The translations of
an HTTP API, a provider's request in and our reply out, belong beside the others: serve.py.
"""

from importlib import import_module

from .answers import ChatAnswer, Delta, EmbedAnswer, HttpCall
from .base import Provider, Route, summarise

__all__ = ["ChatAnswer", "Delta", "EmbedAnswer", "HttpCall", "Provider", "Route", "dialect_of", "summarise"]


def dialect_of(kind: str) -> type[Provider]:
    """The dialect of a kind (`ProviderSettings.kind`): the package of that name says which class it is."""
    dialect: type[Provider] = import_module(f"{__name__}.{kind}").DIALECT
    return dialect
