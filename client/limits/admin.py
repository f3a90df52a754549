"""The limits of the fleet, as `queue.limits`: what is limited, by how much, and how it goes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from copy import copy
from typing import Self, TypeAlias, Unpack, cast

from redis.asyncio import Redis
from redis.commands.core import AsyncScript

from ..errors import InvalidRequest
from ..redis.connection import keys_at, reachable
from ..redis.scripts import scripts
from .listing import states
from .rules.gauge import LimitState
from .rules.lanes import checked_key
from .rules.limit import Limit, LimitFields, checked_name, from_json, made
from .slots import LEASE_S, Calls, SlotBlock

States: TypeAlias = list[LimitState]  # `list` is a verb below
Names: TypeAlias = list[str]


class Tools:
    """What limits have in one event loop."""

    def __init__(self, redis: Redis, signals: Redis) -> None:
        self.redis, self.keys = redis, keys_at(redis)
        verbs = scripts(redis, __package__, self.keys, "seed", "change", "evict", "reset")
        self.seed, self.change, self.evict, self.reset = verbs
        self.calls = Calls(redis, signals)


class Limits:
    """The limits that hold for every worker and client of a server.

    A change is in force at the next claim, everywhere, and stays until the next change: a worker that
    starts puts the limits of its settings in force only where those have changed since.
    """

    def __init__(self, redis: Redis, signals: Redis | None = None) -> None:
        """`signals` is where calls that wait for a slot listen: one connection, while any waits."""
        tools = Tools(redis, signals or redis)
        self._here: Callable[[], Tools] = lambda: tools
        self._held: Collection[str] = ()

    @property
    def _calls(self) -> Calls:
        return self._here().calls

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
        calls, here = self._calls, lambda: self._calls
        return calls.block((key, *more), self._held, tokens=tokens, wait_s=wait_s, lease_s=lease_s, here=here)

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
        name, here = checked_name(key), self._here()
        with reachable():
            had = await cast(Awaitable[bool], here.redis.hexists(here.keys.limits, name))
        await self._edit(name, lambda _: Limit())
        return bool(had)

    async def pause(self, key: str) -> Limit:
        """Starts nothing more under the key; what runs goes on. Its other fields stay."""
        return await self._edit(key, lambda old: old.model_copy(update={"paused": True}))

    async def resume(self, key: str) -> Limit:
        """Ends a pause, and a cooldown."""
        return await self._edit(key, lambda old: old.model_copy(update={"paused": None}), end_cooldown=True)

    async def reset(self, key: str) -> bool:
        """Begins the budgets of a key anew: what was used of rpd, tpd, usd_per_day and usd_total counts no more.

        What waits for them is looked at at once. False where nothing had been counted. Costs stay as they are.
        """
        name = checked_key(checked_name(key))
        with reachable():
            return bool(await self._reset(args=[name]))

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
            return await states(self._here().redis, pattern)

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
        name, here = checked_name(key), self._here()
        with reachable():
            while True:
                old = await cast(Awaitable[bytes | None], here.redis.hget(here.keys.limits, name))
                new = edit(from_json(old))
                text = new.to_json() if new.fields() else ""  # a limit of nothing is no entry
                if await self._change(args=[name, old or b"", text, int(end_cooldown)]):
                    return new

    @property
    def _seed(self) -> AsyncScript:
        return self._here().seed

    @property
    def _change(self) -> AsyncScript:
        return self._here().change

    @property
    def _evict(self) -> AsyncScript:
        return self._here().evict

    @property
    def _reset(self) -> AsyncScript:
        return self._here().reset


def limits_of(here: Callable[[], Tools]) -> Limits:
    """Those of a queue, which has other tools in each event loop."""
    limits = Limits.__new__(Limits)
    limits._here, limits._held = here, ()
    return limits
