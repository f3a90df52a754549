"""One connection that hears when there is work, or when a job is to be aborted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from client import words
from client.redis.connection import connect, keys_at
from client.redis.url import ServerAddress
from worker.unreachable import UNREACHABLE

READ_TIMEOUT_S = 5.0
RECONNECT_S = 0.5

logger = words.logger("arq.worker")


async def listen(address: ServerAddress, *, wake: Callable[[], None], abort: Callable[[str], None]) -> None:
    """Calls `wake` for every signal and `abort` for every job that is said to be aborted, until cancelled.

    A signal lost while there is no connection costs at most a poll: after reconnecting, `wake` is called.
    """
    redis = connect(address, max_connections=1, retries=0)
    try:
        while True:
            pubsub = redis.pubsub()
            try:
                await pubsub.subscribe(keys_at(redis).wake_channel)
                while True:
                    message = await pubsub.get_message(timeout=READ_TIMEOUT_S)
                    if not message:
                        continue
                    if message["type"] == "subscribe":  # from now on nothing is missed
                        wake()
                    elif message["data"]:
                        abort(message["data"].decode(errors="replace"))
                    else:
                        wake()
            except UNREACHABLE as error:
                logger.debug("no signals for the moment: %s", error)
            finally:
                await pubsub.aclose()  # type: ignore[no-untyped-call]
            await asyncio.sleep(RECONNECT_S)
    finally:
        await redis.aclose()
