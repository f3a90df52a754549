"""Asks the server for the facts that the checks judge."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError

from client import Queue

_ASKED = ("appendonly", "maxclients", "maxmemory-policy", "save")


@dataclass(frozen=True)
class Facts:
    """INFO and CONFIG as the server tells them. `config` is empty where the server forbids CONFIG."""

    info: Mapping[str, Any]
    config: Mapping[str, str]
    workers_alive: bool


async def probe(queue: Queue) -> Facts:
    """The facts of the queue's server. Raises QueueUnavailable."""
    await queue.ping()
    info: dict[str, Any] = await queue.redis.info()
    config: dict[str, str] = {}
    with suppress(RedisError):  # managed servers forbid it
        for name in _ASKED:  # before version 7 a server takes one name at a time
            config |= await queue.redis.config_get(name)
    return Facts(info, config, await queue.workers_alive())
