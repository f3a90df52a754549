"""The one caller of Lua, for the client and the worker, which finds out first whether it may be run.

In KEYS are the epoch and a key that never is there: a script runs whole or not at all, wherever its slot is going.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from operator import or_
from typing import Any
from weakref import WeakKeyDictionary

from redis import exceptions as redis_errors
from redis.asyncio import Redis
from redis.commands.core import AsyncScript

from ..wire.keys import Keys
from .rights import NOTHING, Needs, RightsMissing, as_rules, needs_of
from .texts import CLIENT, code, source

ADDS = ("enqueue",)  # verbs that a full server refuses: they add jobs

_allowed: WeakKeyDictionary[object, set[Needs]] = WeakKeyDictionary()  # by pool of connections


class _Whole(AsyncScript):
    """A script that a cluster refuses before its first line, where the key that is there and the one that never is are
    not both to be had: what it reads and writes besides is in their slot."""

    def __init__(self, redis: Redis, text: str, keys: Keys) -> None:
        super().__init__(redis, text)
        self._declared = (keys.epoch, keys.nothing)

    async def __call__(self, *given: Any, **more: Any) -> Any:
        return await super().__call__(self._declared, *given, **more)


class Verb(_Whole):
    """A script that is not sent before its user is known to be allowed all that it and its siblings do.

    Redis at its maxmemory refuses a script's first write if it may need memory, and none that comes after it. So what
    was refused goes again, behind a write that needs none: all verbs but ADDS, those that free memory and those without
    which no job would end. What they add to a full server has a bound: for each job that was queued one result, its
    stream and a few lines, all of which expire, and nothing new is queued meanwhile.
    """

    def __init__(self, redis: Redis, text: str, if_full: str | None, keys: Keys, needs: Needs) -> None:
        super().__init__(redis, text, keys)
        self._if_full = if_full
        self._keys, self._needs = keys, needs
        self._is_allowed = False

    async def __call__(self, *given: Any, **more: Any) -> Any:
        if not self._is_allowed:
            await check(self.registered_client, self._keys, self._needs)
            self._is_allowed = True
        try:
            return await super().__call__(*given, **more)
        except redis_errors.ResponseError as error:  # before Redis 7 it is none of its own
            if self._if_full is None or "'maxmemory'" not in str(error):
                raise
            return await _Whole(self.registered_client, self._if_full, self._keys)(*given, **more)


def scripts(redis: Redis, room: str, keys: Keys, *verbs: str, beside: Needs = NOTHING) -> Iterator[Verb]:
    """The verbs in a package's folder `lua`, for one server. What the server has forgotten is sent again.

    The first call of one asks whether the user may do all that they need, and what is needed `beside` them.
    """
    needs = reduce(or_, (needs_of(code(room, verb)) for verb in verbs), beside)
    full = {verb: None if verb in ADDS else source(room, verb, keys, if_full=True) for verb in verbs}
    return (Verb(redis, source(room, verb, keys), if_full, keys, needs) for verb, if_full in full.items())


async def check(redis: Redis, keys: Keys, needs: Needs) -> None:
    """Raises RightsMissing where the user may not do all of it. One round trip for each pool of connections."""
    allowed = _allowed.setdefault(redis.connection_pool, set())
    if needs in allowed:
        return
    _, missing = await missing_rights(redis, keys, needs)
    if missing:
        raise RightsMissing(" ".join(missing))
    allowed.add(needs)


async def missing_rights(redis: Redis, keys: Keys, needs: Needs) -> tuple[bool, list[str]]:
    """Whether the server can tell, and what the user may not do, as ACL SETUSER takes it."""
    script = AsyncScript(
        redis, source(CLIENT, "rights", keys)
    )  # of keys that may be refused, it declares none
    can_tell, missing = await script(args=needs.words(keys.names()))
    return can_tell == 1, as_rules(missing)
