"""Asks the server for the facts that the checks judge."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError

from client import Queue
from client.wire.keys import KEYS
from promptmill.cli.stats import CPU_QUEUE, count_unreadable

_ASKED = ("appendonly", "maxclients", "maxmemory-policy", "save")


@dataclass(frozen=True)
class Facts:
    """INFO and CONFIG as the server tells them. `config` is empty where the server forbids CONFIG."""

    info: Mapping[str, Any]
    config: Mapping[str, str]
    workers_alive: bool
    cpu_workers_alive: bool
    cpu_jobs: bool  # some wait or run
    unreadable: int  # jobs that workers have left in their queue


async def probe(queue: Queue) -> Facts:
    """The facts of the queue's server. Raises QueueUnavailable."""
    await queue.ping()
    info: dict[str, Any] = await queue.session.redis.info()
    config: dict[str, str] = {}
    with suppress(RedisError):  # managed servers forbid it
        for name in _ASKED:  # before version 7 a server takes one name at a time
            config |= await queue.session.redis.config_get(name)
    lanes = await queue.session.redis.zrange(KEYS.cpu_lanes, 0, -1)
    return Facts(
        info,
        config,
        workers_alive=await queue.workers_alive(),
        cpu_workers_alive=bool(await queue.session.redis.exists(KEYS.health(CPU_QUEUE))),
        cpu_jobs=bool(lanes and await queue.session.redis.exists(*lanes)),
        unreadable=await count_unreadable(queue),
    )
