"""What the tests of slots share: calls that hold one or wait for it, and how to wait for that."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from contextvars import Context
from typing import Any

from client import Queue
from tests.conftest import KEYS, wait_until

MODEL, PROVIDER = "openai/gpt-4o", "openai"
SHORT_S = 1.0  # a lease that is renewed, or lapses, soon
AT_ONCE_S = 0.5  # far below every timer that would help a lost signal


def apart(call: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """A task that does not belong to the block in which it is started."""
    return asyncio.create_task(call, context=Context())


async def hold_briefly(queue: Queue, key: str = MODEL, wait_s: float | None = None) -> None:
    """A call that gives its slot back as soon as it has it."""
    async with queue.limits.slot(key, wait_s=wait_s):
        pass


async def is_held(queue: Queue) -> None:
    async def has() -> bool:
        return await _count(queue, KEYS.slots(MODEL)) == 1

    await wait_until(has, description="a call has the slot")


async def are_waiting(queue: Queue, count: int) -> None:
    async def are() -> bool:
        listening = await queue.session.redis.pubsub_numsub(queue.limits._calls.channel)
        return await _count(queue, KEYS.blocked(MODEL)) == count and listening[0][1] == 1

    await wait_until(are, description=f"{count} calls wait")


async def nothing_left(queue: Queue) -> None:
    async def is_true() -> bool:
        now_ms = time.time_ns() // 1_000_000
        counts = [
            await queue.session.redis.zcount(KEYS.slots(key), now_ms, "+inf") for key in (MODEL, PROVIDER)
        ]
        return not sum(counts) and not await _count(queue, KEYS.blocked(MODEL))

    await wait_until(is_true, description="no call has a slot or waits")


async def _count(queue: Queue, key: str) -> int:
    return int(await queue.session.redis.zcard(key))
