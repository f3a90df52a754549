"""All limit keys and how they are: what `promptmill limits list` shows. For operators, not for a hot path."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import islice
from typing import Any

from redis.asyncio import Redis

from ..wire.keys import KEYS
from .rules.gauge import LimitState, gauged
from .rules.limit import Limit, from_json, in_force

MAX_KEYS = 10_000  # that are listed
MAX_LANES = 1_000  # of a key, whose jobs are counted
BATCH = 500  # keys or lanes a round trip
_SCAN_BATCH = 1_000


async def states(redis: Redis, pattern: str | None) -> list[LimitState]:
    """The limit keys that are configured, waited for or in use; by name. `tenant:*` for some of them."""
    async with redis.pipeline(transaction=False) as look:
        look.hgetall(KEYS.limits)
        look.zrange(KEYS.gates, 0, MAX_KEYS - 1)
        limits, gates = await look.execute()
    entries = {name.decode(): from_json(text) for name, text in limits.items()}
    names = {name for name in (*entries, *map(bytes.decode, gates)) if _fits(name, pattern)}
    async for name in _seen(redis):
        if len(names) >= MAX_KEYS:
            break
        if _fits(name, pattern):
            names.add(name)
    listed = sorted(names)[:MAX_KEYS]
    return [state for part in _parts(listed, BATCH) for state in await _read(redis, part, entries)]


async def _seen(redis: Redis) -> AsyncIterator[str]:
    prefixes = KEYS.flow(""), KEYS.slots("")
    async for name in redis.scan_iter(match=KEYS.flow_or_slots, count=_SCAN_BATCH):
        text = name.decode()
        for prefix in prefixes:
            if text.startswith(prefix):
                yield text[len(prefix) :]


async def _read(redis: Redis, names: Sequence[str], entries: dict[str, Limit]) -> list[LimitState]:
    seconds, micros = await redis.time()
    now_ms = int(seconds) * 1000 + int(micros) // 1000
    async with redis.pipeline(transaction=False) as look:
        for name in names:
            look.hgetall(KEYS.flow(name))
            look.zcount(KEYS.slots(name), f"({now_ms}", "+inf")
            look.zcard(KEYS.blocked(name))
            look.zrange(KEYS.blocked(name), 0, MAX_LANES - 1)
        replies = await look.execute()
    rows = list(zip(names, replies[::4], replies[1::4], replies[2::4], replies[3::4], strict=True))
    due = await _due(redis, {lane for row in rows for lane in row[4] if not lane.startswith(b"!")}, now_ms)
    found = []
    for name, flow, in_use, count, waiters in rows:
        limit, source = in_force(name, entries)
        calls = sum(waiter.startswith(b"!") for waiter in waiters)
        waiting = calls + sum(due.get(lane, 0) for lane in waiters)
        numbers = {field.decode(): float(value) for field, value in flow.items()}
        counts = {"in_use": in_use, "waiting": waiting, "blocked_lanes": count - calls}
        found.append(gauged(name, limit, source, numbers, now_ms, **counts))
    return found


async def _due(redis: Redis, lanes: Iterable[bytes], now_ms: int) -> dict[bytes, int]:
    """How many jobs of each lane could start; a running job stays in its lane with a later score."""
    found: dict[bytes, int] = {}
    for part in _parts(lanes, BATCH):
        async with redis.pipeline(transaction=False) as look:
            for lane in part:
                look.zcount(lane, 0, now_ms)
            found.update(zip(part, await look.execute(), strict=True))
    return found


def _parts(items: Iterable[Any], size: int) -> Iterable[list[Any]]:
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part


def _fits(name: str, pattern: str | None) -> bool:
    if pattern is None or name == pattern:
        return True
    return pattern.endswith("*") and name.startswith(pattern[:-1])
