"""The Lua scripts that change limits, each behind one typed function."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

from redis.asyncio import Redis

from ..wire.keys import KEYS
from .rules.limit import Limit


def _source(verb: str) -> str:
    return files(__package__).joinpath("lua", f"{verb}.lua").read_text()


_SEED, _CHANGE, _EVICT = map(_source, ("seed", "change", "evict"))


class Changes:
    """The scripts, bound to one server."""

    def __init__(self, redis: Redis) -> None:
        self._seed = redis.register_script(_SEED)
        self._change = redis.register_script(_CHANGE)
        self._evict = redis.register_script(_EVICT)

    async def seed(self, limits: Mapping[str, Limit]) -> list[str]:
        """Puts the limits of the settings in force. Returns the keys and patterns that were changed."""
        args = [KEYS.blocked(""), KEYS.wake_channel]
        for key, limit in limits.items():
            args += (key, limit.to_json())
        changed = await self._seed([KEYS.limits, KEYS.limits_seeded, KEYS.gates], args)
        return [key.decode() for key in changed]

    async def change(self, key: str, old: bytes | None, new: Limit, *, end_cooldown: bool = False) -> bool:
        """Replaces what was read; a limit of nothing is no entry. False where another was quicker."""
        text = new.to_json() if new.fields() else ""
        args: list[str | bytes | int] = [key, old or b"", text, int(end_cooldown)]
        args += (KEYS.blocked(""), KEYS.wake_channel)
        return bool(await self._change([KEYS.limits, KEYS.gates, KEYS.flow(key)], args))

    async def evict(self, key: str, holder: str | None) -> int:
        """Takes a slot, or all, from their holders. Returns how many had one."""
        names = [KEYS.slots(key), KEYS.blocked(key), KEYS.gates]
        return int(await self._evict(names, [key, holder or "", KEYS.wake_channel]))
