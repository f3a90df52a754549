"""The jobs a worker knows, each on a page of its own."""

from .chat import chat
from .embed import embed
from .own import of_ones_own

__all__ = ["chat", "embed", "of_ones_own"]
