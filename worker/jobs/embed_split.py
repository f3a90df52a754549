"""How many texts go into one call. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

BYTES_PER_TOKEN = 2  # few texts have more tokens than that; English has half as many


class Part(NamedTuple):
    """The texts from `start` up to `end`."""

    start: int
    end: int


def split(texts: Sequence[str], *, items: int, tokens: int) -> list[Part]:
    """The parts of `texts`, in their order, each of `items` texts and about `tokens` tokens at most.

    A text that is longer by itself is a part by itself: what becomes of it is the provider's affair. Tokens
    are reckoned on the high side, as a part that is too large is refused for good, and one that is smaller
    than need be costs nothing.
    """
    parts: list[Part] = []
    start, size = 0, 0
    for at, needed in enumerate(map(_tokens, texts)):
        if at > start and (at - start >= items or size + needed > tokens):
            parts.append(Part(start, at))
            start, size = at, 0
        size += needed
    return [*parts, Part(start, len(texts))]


def _tokens(text: str) -> int:
    size = len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))
    return -(-size // BYTES_PER_TOKEN)
