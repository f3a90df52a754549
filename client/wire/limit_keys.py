"""The limit keys under which a job holds slots, as its claim hands them to the worker, and gets them back.

    !openai/gpt-4o
    !openai
    tenant:acme

A line each; `!` marks those that reckon with requests, tokens, dollars or refusals. Written and read in Lua by
write_names and read_names (client/lua/names.lua).
"""

from __future__ import annotations

_METERED = "!"


def keys_of(text: str) -> tuple[str, ...]:
    """The keys alone."""
    return tuple(key.removeprefix(_METERED) for key in text.split("\n")) if text else ()


def is_metered(text: str) -> bool:
    """Whether there is anything to settle; no key has the mark in its name."""
    return _METERED in text
