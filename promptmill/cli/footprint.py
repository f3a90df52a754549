"""What takes how much of Redis' memory: the bytes of each kind of key, from a bounded sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from client.wire.keys import Keys

SAMPLE = 10_000  # keys looked at, at most: a tenth of a second of the server's time, in portions
BATCH = 500  # keys a round trip
REST = "the rest"


@dataclass(frozen=True)
class Footprint:
    """Bytes by kind. Reckoned up from `sampled` keys where there are more in the database."""

    bytes_by_kind: dict[str, int]
    keys: int
    sampled: int


async def read_footprint(redis: Redis, keys: Keys) -> Footprint | None:
    """Looks at up to SAMPLE keys: SCAN gives them in the order of their hashes, which is as good as any dice.

    None where the user may not ask for the memory of a key. What belongs to other programs, or to other
    installations in the same database, counts as the rest.
    """
    total = await redis.dbsize()
    found = dict.fromkeys([*_kinds(keys).values(), REST], 0)
    sampled, cursor = 0, 0
    while sampled < SAMPLE:
        cursor, names = await redis.scan(cursor, count=BATCH)
        try:
            for name, size in zip(names, await _sizes(redis, names), strict=True):
                found[_kind(name, keys)] += size or 0  # none: it has gone since
        except ResponseError:
            return None
        sampled += len(names)
        if cursor == 0:
            return Footprint(found, sampled, sampled)
    share = max(1.0, total / sampled)
    return Footprint({kind: round(size * share) for kind, size in found.items()}, total, sampled)


def _kinds(keys: Keys) -> dict[str, str]:
    """What a kind's keys begin with, and its name."""
    return {
        keys.job(""): "payloads",
        keys.result(""): "results",
        keys.stream(""): "streams",
        keys.parts(""): "parts",
    }


def _kind(name: bytes, keys: Keys) -> str:
    return next((kind for start, kind in _kinds(keys).items() if name.startswith(start.encode())), REST)


async def _sizes(redis: Redis, names: list[bytes]) -> list[Any]:
    async with redis.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.memory_usage(name)
        return await pipe.execute()
