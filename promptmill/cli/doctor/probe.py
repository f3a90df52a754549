"""Asks the server for the facts that the checks judge."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError

from client import Queue
from client.redis.connection import reachable
from client.redis.rights import PRODUCER, WORKER
from client.redis.scripts import missing_rights
from promptmill.cli.stats import CPU_LANE, count_unreadable, server_info

_ASKED = ("appendonly", "maxclients", "maxmemory", "maxmemory-policy", "save")


@dataclass(frozen=True)
class Facts:
    """INFO and CONFIG as the server tells them; each is empty where the user may not ask."""

    info: Mapping[str, Any]
    config: Mapping[str, str]
    workers_alive: bool
    cpu_workers_alive: bool
    cpu_jobs: bool  # some wait or run
    unreadable: int  # jobs that workers have left in their queue
    rights_missing: (
        list[str] | None
    )  # for a worker or a producer, as ACL SETUSER takes them; None: it cannot tell


async def probe(queue: Queue) -> Facts:
    """The facts of the queue's server. Raises QueueUnavailable."""
    with reachable():
        return await _probe(queue)


async def _probe(queue: Queue) -> Facts:
    await queue.ping()
    info = await server_info(queue)
    config: dict[str, str] = {}
    with suppress(RedisError):  # managed servers forbid it
        for name in _ASKED:  # before version 7 a server takes one name at a time
            config |= await queue.session.redis.config_get(name)
    keys = queue.session.keys
    can_tell, missing = await missing_rights(queue.session.redis, keys, WORKER | PRODUCER)
    lanes = await queue.session.redis.zrange(keys.cpu_lanes, 0, -1)
    return Facts(
        info,
        config,
        workers_alive=await queue.workers_alive(),
        cpu_workers_alive=bool(await queue.session.redis.exists(keys.health(keys.lane(CPU_LANE)))),
        cpu_jobs=bool(lanes and await queue.session.redis.exists(*lanes)),
        unreadable=await count_unreadable(queue),
        rights_missing=missing if can_tell or missing else None,
    )
