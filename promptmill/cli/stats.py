"""`promptmill stats`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from time import time
from typing import Any

import click
from redis.exceptions import NoPermissionError

from client import Queue
from client.redis.connection import reachable
from client.redis.strange import nothing_if_strange, or_nothing
from client.wire.keys import ELSEWHERE_MS

from .footprint import Footprint, read_footprint
from .interrupts import run_command
from .open_queue import open_queue
from .printing import field, json_option, print_json
from .terminal import say

SCAN_BATCH = 1_000  # keys a round trip
CPU_LANE = "cpu"  # under its name the workers for CPU jobs report


@dataclass(frozen=True)
class QueueStats:
    """The queue and its server at one moment."""

    queued: int
    deferred: int
    running: int
    unreadable: int  # left in a queue for another worker
    workers: list[str]  # the latest health line, if any has reported
    cpu_workers: list[str]  # the same of those for CPU jobs
    server: str
    memory_bytes: int | None
    memory_limit_bytes: int | None  # None: no limit
    clients: int | None
    footprint: Footprint | None  # None: the user may not ask


@click.command()
@json_option
def stats(as_json: bool) -> None:
    """Count the jobs and say how the server is."""
    found = run_command(_stats())
    if as_json:
        print_json(found)
        return
    limit = f" of {found.memory_limit_bytes:,}" if found.memory_limit_bytes else ""
    say(f"queued    {found.queued:,}")
    say(f"deferred  {found.deferred:,}")
    say(f"running   {found.running:,}")
    if found.unreadable:
        say(f"unread    {found.unreadable:,}, left for a worker that can read them")
    for line in found.workers or ["none has reported"]:
        say(f"worker    {field(line)}")
    for line in found.cpu_workers:
        say(f"cpu       {field(line)}")
    say(f"server    {found.server}")
    say(f"memory    {found.memory_bytes or 0:,}{limit} bytes")
    for line in _footprint_lines(found.footprint):
        say(line)
    say(f"clients   {found.clients or 0:,}")


def _footprint_lines(found: Footprint | None) -> list[str]:
    if found is None:
        return ["by kind   not known: the Redis user may not run MEMORY USAGE"]
    lines = [f"  {kind:<10}{size:,} bytes" for kind, size in found.bytes_by_kind.items()]
    if found.sampled < found.keys:
        lines.append(f"  reckoned from {found.sampled:,} of {found.keys:,} keys")
    return lines


async def _stats() -> QueueStats:
    async with open_queue("stats") as (queue, _):
        await queue.ping()
        with reachable():
            return await read_stats(queue)


async def read_stats(queue: Queue) -> QueueStats:
    """Asks the server; the running jobs are counted by a scan of the keys."""
    redis, keys = queue.session.redis, queue.session.keys
    due, later = await _waiting(queue)
    running = [key async for key in redis.scan_iter(match=keys.in_progress("*"), count=SCAN_BATCH)]
    info = await server_info(queue)
    return QueueStats(
        queued=due,
        deferred=max(0, later - len(running)),  # a running job is in its lane, too: its lease ends later
        running=len(running),
        unreadable=await count_unreadable(queue),
        workers=await _health(queue, queue.session.name),
        cpu_workers=await _health(queue, keys.lane(CPU_LANE)),
        server=server_name(info),
        memory_bytes=info.get("used_memory"),
        memory_limit_bytes=info.get("maxmemory") or None,
        clients=info.get("connected_clients"),
        footprint=await read_footprint(redis, keys),
    )


async def server_info(queue: Queue) -> dict[str, Any]:
    """What the server tells of itself; nothing where the user may not ask."""
    try:
        return dict(await queue.session.redis.info())
    except NoPermissionError:  # it counts as dangerous, and nothing else here needs it
        return {}


async def count_unreadable(queue: Queue) -> int:
    """How many jobs workers have left where they are, as they cannot read them."""
    keys = queue.session.keys
    known = await _members(queue, keys.unreadable)
    lanes = {queue.session.name.encode(), keys.queue.encode(), *(one.partition(b"\n")[0] for one in known)}
    async with queue.session.redis.pipeline(transaction=False) as pipe:
        for lane in lanes:
            pipe.zcount(lane, "-inf", "(0")
        return sum(or_nothing(count) or 0 for count in await pipe.execute(raise_on_error=False))


async def _health(queue: Queue, name: str) -> list[str]:
    health: bytes | None = None
    with nothing_if_strange():
        health = await queue.session.redis.get(queue.session.keys.health(name))
    return [health.decode(errors="replace")] if health else []


async def _waiting(queue: Queue) -> tuple[int, int]:
    """How many jobs of all lanes are due, and how many are somebody's business later."""
    now_ms, keys = round(time() * 1000), queue.session.keys
    waiting = [await _members(queue, lanes) for lanes in (keys.lanes, keys.cpu_lanes)]
    lanes = {queue.session.name.encode(), *chain.from_iterable(waiting)}
    async with queue.session.redis.pipeline(transaction=False) as pipe:
        for lane in lanes:
            pipe.zcount(lane, 0, now_ms)
            pipe.zcount(lane, f"({now_ms}", f"({ELSEWHERE_MS}")
        counts = [or_nothing(count) or 0 for count in await pipe.execute(raise_on_error=False)]
    return sum(counts[::2]), sum(counts[1::2])


async def _members(queue: Queue, key: str) -> list[bytes]:
    async with queue.session.redis.pipeline(transaction=False) as pipe:
        pipe.zrange(key, 0, -1)
        return or_nothing((await pipe.execute(raise_on_error=False))[0]) or []


def server_name(info: Mapping[str, Any]) -> str:
    """Valkey or Redis, and its version, from INFO."""
    if "valkey_version" in info:
        return f"Valkey {info['valkey_version']}"
    return f"Redis {info.get('redis_version', 'of an unknown version')}"
