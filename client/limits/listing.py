"""All limit keys and how they are: what `promptmill limits list` shows. For operators, not for a hot path."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, NamedTuple

from redis.asyncio import Redis

from ..redis.connection import keys_at
from ..redis.strange import or_nothing
from ..wire.keys import Keys
from ..wire.lane import limit_keys_of
from .rules.gauge import LimitState, gauged
from .rules.limit import Limit, from_json, in_force

MAX_KEYS = 10_000  # that are listed
MAX_LANES = 1_000  # of a key, whose jobs are counted
BATCH = 500  # keys or lanes a round trip
MOST_NUMBER = 10**13  # of a flow: a moment is the largest
_SCAN_BATCH = 1_000


async def states(redis: Redis, pattern: str | None) -> list[LimitState]:
    """The limit keys that are configured, waited for or in use, and those of which anything is known from before; by
    name. `tenant:*` for some of them."""
    keys = keys_at(redis)
    async with redis.pipeline(transaction=False) as look:
        look.hgetall(keys.limits)
        look.hgetall(keys.limits_seeded)
        look.zrange(keys.gates, 0, MAX_KEYS - 1)
        limits, seeded, gates = map(or_nothing, await look.execute(raise_on_error=False))
    known = _Known(_limits(limits or {}), _limits(seeded or {}), await _lanes_by_key(redis, keys))
    every = (*known.entries, *known.seeded, *map(_name, gates or []))
    names = {name for name in every if _fits(name, pattern)}
    async for name in _seen(redis, keys):
        if len(names) >= MAX_KEYS:
            break
        if _fits(name, pattern):
            names.add(name)
    listed = sorted(names)[:MAX_KEYS]
    return [state for part in _parts(listed, BATCH) for state in await _read(redis, keys, part, known)]


class _Known(NamedTuple):
    entries: dict[str, Limit]  # in force
    seeded: dict[str, Limit]  # as the settings say
    lanes: dict[str, set[bytes]]  # limit key → lanes of its jobs

    def overridden(self, name: str) -> str | None:
        seeded = self.seeded.get(name, Limit())
        changed = name in self.seeded and seeded != self.entries.get(name, Limit())
        return seeded.words() if changed else None


def _limits(texts: dict[bytes, bytes]) -> dict[str, Limit]:
    return {_name(name): from_json(text) for name, text in texts.items()}


async def _lanes_by_key(redis: Redis, keys: Keys) -> dict[str, set[bytes]]:
    """Lanes that have jobs, MAX_LANES of each kind: those of a key that is paused wait for no signal, and may not
    stand in its queue."""
    async with redis.pipeline(transaction=False) as look:
        look.zrange(keys.lanes, 0, MAX_LANES - 1)
        look.zrange(keys.cpu_lanes, 0, MAX_LANES - 1)
        look.hgetall(keys.aliases)
        lanes, cpu_lanes, aliases = map(or_nothing, await look.execute(raise_on_error=False))
    models = {_name(alias): _name(model) for alias, model in (aliases or {}).items()}
    found: dict[str, set[bytes]] = {}
    for lane in (*(lanes or ()), *(cpu_lanes or ())):
        for key in limit_keys_of(keys.lane_name(_name(lane)), models):
            found.setdefault(key, set()).add(lane)
    return found


async def _seen(redis: Redis, keys: Keys) -> AsyncIterator[str]:
    prefixes = keys.flow(""), keys.slots("")
    async for name in redis.scan_iter(match=keys.flow_or_slots, count=_SCAN_BATCH):
        text = _name(name)
        for prefix in prefixes:
            if text.startswith(prefix):
                yield text[len(prefix) :]


async def _read(redis: Redis, keys: Keys, names: Sequence[str], known: _Known) -> list[LimitState]:
    seconds, micros = await redis.time()
    now_ms = int(seconds) * 1000 + int(micros) // 1000
    async with redis.pipeline(transaction=False) as look:
        for name in names:
            look.hgetall(keys.flow(name))
            look.zcount(keys.slots(name), f"({now_ms}", "+inf")
            look.zcard(keys.blocked(name))
            look.zrange(keys.blocked(name), 0, MAX_LANES - 1)
        replies = [or_nothing(reply) for reply in await look.execute(raise_on_error=False)]
    queues = [waiters or [] for waiters in replies[3::4]]
    rows = list(zip(names, replies[::4], replies[1::4], replies[2::4], queues, strict=True))
    lanes = {name: _lanes_of(known.lanes.get(name, ()), waiters) for name, *_, waiters in rows}
    due = await _due(redis, {lane for each in lanes.values() for lane in each}, now_ms)
    found = []
    for name, flow, in_use, count, waiters in rows:
        limit, source = in_force(name, known.entries)
        calls = sum(waiter.startswith(b"!") for waiter in waiters)
        waiting = calls + sum(due[lane] for lane in lanes[name])
        counts = {"in_use": in_use or 0, "waiting": waiting, "blocked_lanes": (count or 0) - calls}
        overridden = known.overridden(name)
        found.append(
            gauged(name, limit, source, _numbers(flow or {}), now_ms, **counts, overridden=overridden)
        )
    return found


def _lanes_of(lanes: Iterable[bytes], waiters: Iterable[bytes]) -> set[bytes]:
    return {*lanes, *(waiter for waiter in waiters if not waiter.startswith(b"!"))}


async def _due(redis: Redis, lanes: Iterable[bytes], now_ms: int) -> dict[bytes, int]:
    """How many jobs of each lane could start; a running job stays in its lane with a later score."""
    found: dict[bytes, int] = {}
    for part in _parts(lanes, BATCH):
        async with redis.pipeline(transaction=False) as look:
            for lane in part:
                look.zcount(lane, 0, now_ms)
            counts = await look.execute(raise_on_error=False)
            found.update(zip(part, (or_nothing(count) or 0 for count in counts), strict=True))
    return found


def _name(key: bytes) -> str:
    """As it is told; one that is no text, as near as can be."""
    return key.decode(errors="replace")


def _numbers(flow: dict[bytes, bytes]) -> dict[str, float]:
    """Those that can be, as state.lua reads them."""
    found: dict[str, float] = {}
    for field, value in flow.items():
        with suppress(ValueError):
            if abs(number := float(value)) <= MOST_NUMBER:  # neither NaN nor infinity
                found[_name(field)] = number
    return found


def _parts(items: Iterable[Any], size: int) -> Iterable[list[Any]]:
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part


def _fits(name: str, pattern: str | None) -> bool:
    if pattern is None or name == pattern:
        return True
    return pattern.endswith("*") and name.startswith(pattern[:-1])
