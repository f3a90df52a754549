"""The jobs a worker knows, each on a page of its own."""

from .chat import chat
from .embed import embed

__all__ = ["chat", "embed"]
