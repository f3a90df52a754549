"""What a worker tells of itself and of its models: a text, or fields of a hash, which expire."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

from redis.asyncio import Redis

from ..wire.keys import Keys
from .scripts import scripts
from .texts import CLIENT


async def note(redis: Redis, keys: Keys, key: str, life_s: float, told: str | Mapping[str, str]) -> None:
    """Writes it, on a server that is full, too. Idempotent. One round trip."""
    (script,) = scripts(redis, CLIENT, keys, "note")
    words = [told] if isinstance(told, str) else chain.from_iterable(told.items())
    await script(args=[key, round(life_s * 1000), *words])
