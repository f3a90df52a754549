"""Values of many megabytes: whole, and without the event loop standing still."""

from __future__ import annotations

import asyncio
import os
import signal
import time

from client import Queue
from client.redis.connections import PIECE_BYTES, UnixConnection
from tests.conftest import Server, wait_until


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


async def test_what_a_server_that_hangs_had_not_read_of_a_cancelled_value_is_dropped(
    own_server: Server,
) -> None:
    connection = UnixConnection(path=str(own_server.socket))
    await connection.connect()  # type: ignore[no-untyped-call]
    assert own_server.process is not None
    assert connection._writer is not None
    transport = connection._writer.transport

    async def call() -> None:
        await connection.send_command("SET", "large", bytes(60 * PIECE_BYTES))
        await connection.read_response()

    own_server.process.send_signal(signal.SIGSTOP)
    try:
        task = asyncio.create_task(call())
        await wait_until(lambda: transport.get_write_buffer_size() > 0, description="a buffer in use")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert transport.is_closing()
        assert transport.get_write_buffer_size() == 0
    finally:
        own_server.process.send_signal(signal.SIGCONT)
