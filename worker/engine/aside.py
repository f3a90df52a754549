"""Keys that a script has set aside, as they held another type than ours (client/lua/checked.lua): each is told once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from time import monotonic
from typing import Any

from redis.exceptions import ResponseError

from client import QueueUnavailable, words
from client.redis.connection import keys_at
from worker.unreachable import UNREACHABLE

EVERY_S = 1.0
_SCAN = 1_000  # keys a round trip
LATEST = 10  # that are told at once

logger = words.logger("arq.worker")


async def _recover(
    redis: Any,
    gone: Collection[str],
    publish: Callable[[dict[Any, Any]], Awaitable[None]] | None,
    ctx: dict[Any, Any],
) -> None:
    """Makes anew what went with these keys: the limits of the settings, where `publish` puts them in force; and that
    all lanes, and limit keys that are waited for, are looked at: what is gone may have been all that knew of one."""
    keys = keys_at(redis)
    with suppress(*UNREACHABLE, QueueUnavailable, ResponseError):  # it may not be allowed to look for keys
        if publish and keys.limits in gone:
            await publish(ctx)
        now_s, _ = await redis.time()
        for prefix in (keys.lane(""), keys.blocked("")):
            async for key in redis.scan_iter(match=f"{prefix}*", count=_SCAN):
                waited = key.removeprefix(prefix.encode())
                index = keys.gates if prefix != keys.lane("") else keys.lanes_of(key.decode(errors="replace"))
                with suppress(ResponseError):
                    await redis.zadd(index, {waited if index == keys.gates else key: now_s * 1000}, lt=True)


class Aside:
    """What was told."""

    def __init__(self) -> None:
        self._next_s = 0.0  # monotonic
        self._told_ms = 0.0  # the latest

    async def look(
        self, redis: Any, publish: Callable[[dict[Any, Any]], Awaitable[None]] | None, ctx: dict[Any, Any]
    ) -> None:
        """Tells of the keys that were set aside since the last look, the latest, and makes anew what went with them."""
        if monotonic() < self._next_s:
            return
        self._next_s, keys = monotonic() + EVERY_S, keys_at(redis)
        try:
            rows = await redis.zrevrange(keys.aside, 0, LATEST - 1, withscores=True)
        except ResponseError:  # it is none of ours: the next script that writes it puts that right
            return
        new = [key.decode(errors="replace") for key, at_ms in rows if at_ms > self._told_ms]
        self._told_ms = max((at_ms for _, at_ms in rows), default=self._told_ms)
        for key in new:
            logger.error(
                "%s held another type than promptmill's, and was set aside as %s for a week: see 'Records that cannot "
                "be read' in docs/operations.md",
                *(key, keys.set_aside(key)),
            )
        if new:
            await _recover(redis, new, publish, ctx)
