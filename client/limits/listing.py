"""All limit keys and how they are: what `promptmill limits list` shows. For operators, not for a hot path."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from redis.asyncio import Redis

from ..wire.keys import KEYS
from .rules.gauge import Gauge, flow_of
from .rules.limit import Limit, from_json, in_force

MAX_KEYS = 10_000  # that are listed
MAX_LANES = 1_000  # of a key, whose jobs are counted
BATCH = 500  # keys or lanes a round trip
_SCAN_BATCH = 1_000


@dataclass(frozen=True, slots=True)
class LimitState:
    """A limit key, or a pattern, at one moment. None: without limit."""

    key: str
    limit: Limit  # in force
    source: str  # "own", the pattern it comes from, "default" or "none"
    effective: int | None  # at once, now that the provider has had its say
    in_use: int
    waiting: int  # jobs and calls that could start if it had room
    blocked_lanes: int
    cooldown_s: float  # until it is tried again; 0: now
    rpm: float | None  # ours, or the provider's own where that is lower
    requests_left: float | None  # in the bucket, which holds a tenth of a minute
    tpm: float | None
    tokens_left: float | None
    tokens_today: int  # UTC; counted where a rate or a budget is set
    usd_today: float
    usd_total: float
    paused: bool


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
        gauge = Gauge(limit, flow_of(flow), in_use, now_ms)
        found.append(_state(name, source, gauge, waiting, count - calls))
    return found


def _state(name: str, source: str, gauge: Gauge, waiting: int, blocked_lanes: int) -> LimitState:
    return LimitState(
        key=name,
        limit=gauge.limit,
        source=source,
        effective=gauge.effective,
        in_use=gauge.in_use,
        waiting=waiting,
        blocked_lanes=blocked_lanes,
        cooldown_s=gauge.cooldown_ms / 1000,
        rpm=gauge.rpm,
        requests_left=gauge.requests_left,
        tpm=gauge.tpm,
        tokens_left=gauge.tokens_left,
        tokens_today=gauge.tokens_today,
        usd_today=gauge.usd_today,
        usd_total=gauge.usd_total,
        paused=bool(gauge.limit.paused),
    )


async def _due(redis: Redis, lanes: Iterable[bytes], now_ms: int) -> dict[bytes, int]:
    """How many jobs of each lane could start; a running job stays in its lane with a later score."""
    found: dict[bytes, int] = {}
    for part in _parts(lanes, BATCH):
        async with redis.pipeline(transaction=False) as look:
            for lane in part:
                look.zcount(lane, "-inf", now_ms)
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
