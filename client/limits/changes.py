"""The Lua scripts that change limits, each behind one typed function."""

from __future__ import annotations

from collections.abc import Mapping

from redis.asyncio import Redis

from ..redis.scripts import scripts
from ..wire.keys import Keys
from .rules.limit import Limit


class Changes:
    """The scripts, bound to one server."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._seed, self._change, self._evict = scripts(redis, __package__, keys, "seed", "change", "evict")

    async def seed(self, limits: Mapping[str, Limit]) -> list[str]:
        """Puts the limits of the settings in force. Returns the keys and patterns that were changed."""
        args = [text for key, limit in limits.items() for text in (key, limit.to_json())]
        return [key.decode() for key in await self._seed(args=args)]

    async def change(self, key: str, old: bytes | None, new: Limit, *, end_cooldown: bool = False) -> bool:
        """Replaces what was read; a limit of nothing is no entry. False where another was quicker."""
        text = new.to_json() if new.fields() else ""
        return bool(await self._change(args=[key, old or b"", text, int(end_cooldown)]))

    async def evict(self, key: str, holder: str | None) -> int:
        """Takes a slot, or all, from their holders. Returns how many had one."""
        return int(await self._evict(args=[key, holder or ""]))
