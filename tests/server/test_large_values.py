"""Values of many megabytes: whole, and without the event loop standing still."""

from __future__ import annotations

import asyncio
import os
import time

from client import Queue
from client.redis.connections import PIECE_BYTES


async def test_a_large_value_arrives_whole_while_others_have_their_turns(queue: Queue) -> None:
    value = os.urandom(30 * PIECE_BYTES + 7)
    longest_s = 0.0

    async def others() -> None:
        nonlocal longest_s
        while True:
            began_s = time.process_time()
            await asyncio.sleep(0)
            longest_s = max(longest_s, time.process_time() - began_s)

    task = asyncio.create_task(others())
    await asyncio.sleep(0)
    await queue.session.redis.set("large", value, ex=60)
    task.cancel()
    assert longest_s < 0.08
    assert await queue.session.redis.get("large") == value
    async with queue.session.redis.pipeline(transaction=True) as pipe:
        pipe.append("large", b"x" * (2 * PIECE_BYTES))
        pipe.strlen("large")
        assert (await pipe.execute())[1] == 32 * PIECE_BYTES + 7


async def test_a_cancelled_large_value_leaves_a_connection_that_works(queue: Queue) -> None:
    task = asyncio.ensure_future(queue.session.redis.set("large", os.urandom(60 * PIECE_BYTES), ex=60))
    for _ in range(20):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    for number in range(4):
        await queue.session.redis.set("small", number, ex=60)
        assert await queue.session.redis.get("small") == str(number).encode()
