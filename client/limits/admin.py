"""The limits of the fleet, as `queue.limits`: what is limited, by how much, and how it goes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from copy import copy
from typing import Self, TypeAlias, Unpack, cast

from redis.asyncio import Redis

from ..errors import InvalidRequest
from ..redis.connection import reachable
from ..redis.scripts import scripts
from ..wire.keys import KEYS
from .listing import states
from .rules.gauge import LimitState
from .rules.lanes import checked_key
from .rules.limit import Limit, LimitFields, checked_name, from_json, made
from .slots import LEASE_S, Calls, SlotBlock

States: TypeAlias = list[LimitState]  # `list` is a verb below
Names: TypeAlias = list[str]


class Limits:
    """The limits that hold for every worker and client of a server.

    A change is in force at the next claim, everywhere, and stays until the next change: a worker that
    starts puts the limits of its settings in force only where those have changed since.
    """

    def __init__(self, redis: Redis, signals: Redis | None = None) -> None:
        """`signals` is where calls that wait for a slot listen: one connection, while any waits."""
        self._redis = redis
        self._seed, self._change, self._evict = scripts(redis, __package__, KEYS, "seed", "change", "evict")
        self._calls = Calls(redis, signals or redis)
        self._held: Collection[str] = ()

    def slot(
        self, key: str, /, *more: str, tokens: int = 0, wait_s: float | None = None, lease_s: float = LEASE_S
    ) -> SlotBlock:
        """A slot for a call that the caller makes: `async with limits.slot("openai/gpt-4o", tokens=900): …`

        The call is admitted under `key`, such as a model, which also stands for its provider, and under
        `more` keys: under all at once, first come, first served, in turn with the jobs. `tokens` is what is
        reserved, input and output together; `slot.settle` corrects it. While it lasts the slot is renewed;
        should its process die, it is free after `lease_s` seconds. Should it be lost, the block is
        cancelled and ends with SlotLost.

        Entering raises SlotTimeout after waiting `wait_s` seconds (0: where it is not free now), InvalidRequest
        where the code has a slot already, QueueUnavailable. Cancelled, it leaves nothing behind.
        """
        return self._calls.block((key, *more), self._held, tokens=tokens, wait_s=wait_s, lease_s=lease_s)

    def under(self, held: Collection[str]) -> Self:
        """The same limits for a job that holds slots of these keys: its calls do not take them again."""
        if not held and not self._held:
            return self
        view = copy(self)
        view._held = frozenset(held)
        return view

    async def close(self) -> None:
        """Gives back the slots of calls, and stops listening. Whoever waits for one gets QueueUnavailable."""
        await self._calls.close()

    async def set(self, key: str, /, **fields: Unpack[LimitFields]) -> Limit:
        """Sets fields of the key's own limit and returns what it then is; None takes a field away.

        `key` is a limit key, or a pattern such as `tenant:*` for every key that begins so and has no limit
        of its own. A limit that is lowered lets its holders finish. Raises InvalidRequest,
        QueueUnavailable.
        """
        if not fields:
            raise InvalidRequest("There is nothing to set: name a field, such as concurrency=50.")
        made(fields)
        return await self._edit(key, lambda old: made({**old.fields(), **fields}))

    async def remove(self, key: str) -> bool:
        """Takes the key's own limit away, so that a pattern's holds again. False where it had none."""
        name = checked_name(key)
        with reachable():
            had = await cast(Awaitable[bool], self._redis.hexists(KEYS.limits, name))
        await self._edit(name, lambda _: Limit())
        return bool(had)

    async def pause(self, key: str) -> Limit:
        """Starts nothing more under the key; what runs goes on. Its other fields stay."""
        return await self._edit(key, lambda old: old.model_copy(update={"paused": True}))

    async def resume(self, key: str) -> Limit:
        """Ends a pause, and a cooldown."""
        return await self._edit(key, lambda old: old.model_copy(update={"paused": None}), end_cooldown=True)

    async def evict(self, key: str, holder: str | None = None) -> int:
        """Takes the slot of a holder, or of all, and returns how many had one.

        Their work is cancelled at their next renewal, and jobs go back to their lanes. The slots are free
        at once, so the provider may see more calls than the limit until then.
        """
        name = checked_key(checked_name(key))
        with reachable():
            return int(await self._evict(args=[name, holder or ""]))

    async def list(self, pattern: str | None = None) -> States:
        """The keys that are configured, waited for or in use, by name: 10,000 at most.

        `pattern` is a key, or a beginning and `*`. Reads the names of all keys on the server, so it is for a
        person who looks, not for a loop. Raises QueueUnavailable.
        """
        with reachable():
            return await states(self._redis, pattern)

    async def seed(self, limits: Mapping[str, Limit]) -> Names:
        """Puts the limits of a worker's settings in force, those that differ from what was put last.

        One that is gone from the settings is taken away, unless it was changed since. Atomic, and without
        effect when repeated. Returns the names that were changed.
        """
        args = [text for name, limit in limits.items() for text in (checked_name(name), limit.to_json())]
        with reachable():
            return [name.decode() for name in await self._seed(args=args)]

    async def _edit(self, key: str, edit: Callable[[Limit], Limit], *, end_cooldown: bool = False) -> Limit:
        """Reads, edits and writes, again where another was quicker."""
        name = checked_name(key)
        with reachable():
            while True:
                old = await cast(Awaitable[bytes | None], self._redis.hget(KEYS.limits, name))
                new = edit(from_json(old))
                text = new.to_json() if new.fields() else ""  # a limit of nothing is no entry
                if await self._change(args=[name, old or b"", text, int(end_cooldown)]):
                    return new
