"""Bytes by kind, as `promptmill stats` tells them: exact where all keys are looked at, near where some are."""

from __future__ import annotations

import pytest

from client import Queue
from promptmill.cli import footprint
from promptmill.cli.stats import read_stats
from tests.conftest import KEYS

KIB = 1024
KINDS = {"payloads": KEYS.job, "results": KEYS.result, "streams": KEYS.stream, "parts": KEYS.parts}


async def fill(queue: Queue, each: int) -> None:
    """Of every kind `each` keys of some 1, 2, 3 and 4 KiB."""
    redis = queue.session.redis
    async with redis.pipeline(transaction=False) as pipe:
        for number in range(each):
            pipe.set(KEYS.job(f"{number}"), "x" * KIB, ex=60)
            pipe.set(KEYS.result(f"{number}"), "x" * 2 * KIB, ex=60)
            pipe.xadd(KEYS.stream(f"{number}"), {"e": "x" * 3 * KIB})
            pipe.expire(KEYS.stream(f"{number}"), 60)
            pipe.hset(KEYS.parts(f"{number}"), "0", "x" * 4 * KIB)
            pipe.expire(KEYS.parts(f"{number}"), 60)
        await pipe.execute()


async def test_every_kind_is_told_with_its_bytes(queue: Queue) -> None:
    await fill(queue, 10)
    found = (await read_stats(queue)).footprint
    assert found is not None
    assert found.sampled == found.keys == 40
    for size_kib, kind in enumerate(KINDS, 1):
        assert 10 * size_kib * KIB <= found.bytes_by_kind[kind] <= 10 * (size_kib + 2) * KIB
    assert found.bytes_by_kind["the rest"] == 0


async def test_many_keys_are_reckoned_from_a_sample(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "SAMPLE", 1_000)
    await fill(queue, 1_000)
    found = await footprint.read_footprint(queue.session.redis, KEYS)
    assert found is not None
    assert found.keys == 4_000
    assert found.sampled < 2_000
    for size_kib, kind in enumerate(KINDS, 1):
        assert found.bytes_by_kind[kind] == pytest.approx(1_000 * (size_kib + 0.3) * KIB, rel=0.5)


async def test_without_the_right_to_ask_nothing_is_told(queue: Queue) -> None:
    redis = queue.session.redis
    await fill(queue, 1)
    await redis.acl_setuser("default", enabled=True, commands=["-memory"])
    try:
        assert await footprint.read_footprint(redis, KEYS) is None
    finally:
        await redis.acl_setuser("default", enabled=True, commands=["+memory"])
