"""Lanes and priorities, as the client writes them."""

from __future__ import annotations

import pytest

from client import InvalidRequest, JobStatus, Queue, keys


async def test_a_job_in_a_lane_is_found_by_its_id_alone(any_queue: Queue) -> None:
    await any_queue.chat("hi", job_id="a", lane="tenant:acme")
    await any_queue.chat("hi", job_id="b", lane="tenant:acme", defer_s=60)
    assert await any_queue.redis.zcard(keys.lane("tenant:acme")) == 2
    assert await any_queue.job("a").status() == JobStatus.queued
    assert await any_queue.job("b").status() == JobStatus.deferred
    assert await any_queue.job("b").abort()
    assert await any_queue.redis.zcard(keys.lane("tenant:acme")) == 1


async def test_a_head_start_decides_within_a_lane(any_queue: Queue) -> None:
    for priority in ("low", 3_600.0, "normal", "high"):
        await any_queue.enqueue("f", _job_id=str(priority), _priority=priority)
    order = await any_queue.redis.zrange(any_queue.name, 0, -1)
    assert [id_.decode() for id_ in order] == ["3600.0", "high", "normal", "low"]


async def test_a_head_start_does_not_start_a_deferred_job_early(any_queue: Queue) -> None:
    job = await any_queue.chat("hi", defer_s=60, priority="high")
    assert await job.status() == JobStatus.deferred


@pytest.mark.parametrize("priority", ["urgent", -1, float("nan"), 86_401, None])
async def test_a_priority_that_is_none_is_refused(any_queue: Queue, priority: object) -> None:
    with pytest.raises(InvalidRequest, match=r"^A priority is low, normal, high or a head start"):
        await any_queue.chat("hi", priority=priority)  # type: ignore[arg-type]


@pytest.mark.parametrize("lane", ["", "a b", "x" * 257, 7])
async def test_a_lane_without_a_name_is_refused(any_queue: Queue, lane: object) -> None:
    with pytest.raises(InvalidRequest, match=r"^A lane is a name of 1 to 256 characters"):
        await any_queue.chat("hi", lane=lane)  # type: ignore[arg-type]
