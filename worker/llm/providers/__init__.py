"""Providers: how each wants to be asked, and what its answers and refusals mean."""

from .answers import ChatAnswer, Delta, EmbedAnswer, HttpCall
from .base import Provider, summarise
from .resolve import Route, resolve

__all__ = ["ChatAnswer", "Delta", "EmbedAnswer", "HttpCall", "Provider", "Route", "resolve", "summarise"]
