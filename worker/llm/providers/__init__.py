"""Providers: how each wants to be asked, and what its answers and refusals mean."""

from .base import ChatAnswer, EmbedAnswer, HttpCall, Provider, summarise
from .resolve import Route, resolve

__all__ = ["ChatAnswer", "EmbedAnswer", "HttpCall", "Provider", "Route", "resolve", "summarise"]
