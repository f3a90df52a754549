"""The name of a lane, from which the limit keys of its jobs follow. Its writer is client/limits/rules/lanes.py.

    openai/gpt-4o|tenant:acme|conversation:42|bulk

A name is the way of its jobs, part by part: the model, the tenant, the conversation, the limits of the
user's own, the user's lane. Each part is a limit key, and the model also stands for its provider's. As a
client does not know the worker's default models, it may name them by an alias:

    @chat         the worker's DEFAULT_MODEL
    @embed        the worker's DEFAULT_EMBED_MODEL
    @chat/NAME    the model NAME at the provider of DEFAULT_MODEL; so does @embed/NAME

Lua reads it by keys_of and provider_of (client/lua/names.lua).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_MODEL = re.compile(r"([^/:@][^/:]*)/.", re.DOTALL)


def parts_of(name: str) -> list[str]:
    """The parts of a lane's name, which is empty for a queue that is no lane of ours."""
    return [part for part in name.split("|") if part]


def place_of(name: str) -> list[str]:
    """The parts behind the model, or its alias, where it has one."""
    parts = parts_of(name)
    return parts[1:] if parts and (parts[0].startswith("@") or provider_of(parts[0])) else parts


def limit_keys_of(name: str, aliases: Mapping[str, str]) -> list[str]:
    """The limit keys of a lane's jobs; `aliases` are what @chat and @embed stand for, where that is known."""
    keys: list[str] = []
    for part in parts_of(name):
        if not keys:
            alias, _, model = part.partition("/")
            if known := aliases.get(alias):
                first = f"{known.partition('/')[0]}/{model}" if model else known
            else:
                first = part
            keys += filter(None, (first, provider_of(first)))
        else:
            keys.append(part)
    return list(dict.fromkeys(keys))


def provider_of(part: str) -> str | None:
    """The provider of a model; None where the part is no model. `tenant:a/b` is none."""
    found = _MODEL.match(part)
    return found[1] if found else None
