"""What providers say, in both directions, as pure translations: their forms ↔ our neutral ones. No I/O.

openai/ anthropic/ gemini/   ask.py: a request goes out · answer.py: a reply comes in
base.py                      what a dialect is: `Provider`, and where a request goes: `Route`
refusals.py, refuse.py       a refusal → the class of its error, and its sentence
"""

from .answers import ChatAnswer, Delta, EmbedAnswer, HttpCall
from .base import Provider, Route, summarise

__all__ = ["ChatAnswer", "Delta", "EmbedAnswer", "HttpCall", "Provider", "Route", "summarise"]
