"""What became of everything: outcomes, costs, and what is left in Redis."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from math import inf
from time import monotonic, time

from redis.asyncio import Redis

from client import JobError, JobStatus, Queue
from client.errors import JobNotFound, ResultTimeout
from client.wire.keys import KEYS
from tests.conftest import KEYS_WITHOUT_TTL
from tests.soak.record import Leftovers, Outcome, Record

BATCH = 500

_OF_A_LIVE_JOB = (KEYS.job(""), KEYS.in_progress(""), KEYS.retry(""), KEYS.attempts(""), KEYS.crashes(""))
_OF_JOBS = (*_OF_A_LIVE_JOB, KEYS.parts(""))


async def until_all_have_ended(record: Record, redis: Redis, within_s: float) -> None:
    """Returns when every job has its result, or when the time is up."""
    deadline_s = monotonic() + within_s
    left = [job.id for job in record.jobs.values() if job.enqueued_s < inf]
    while left and monotonic() < deadline_s:
        there = [await redis.exists(KEYS.result(id_)) for id_ in left[:BATCH]]
        left = [id_ for id_, is_there in zip(left[:BATCH], there, strict=True) if not is_there] + left[BATCH:]
        if all(not is_there for is_there in there):
            await asyncio.sleep(0.2)


async def outcomes(record: Record, queue: Queue) -> dict[str, Outcome]:
    return {id_: await _outcome(queue, id_) for id_ in record.jobs}


async def _outcome(queue: Queue, job_id: str) -> Outcome:
    job = queue.job(job_id)
    try:
        return Outcome(answer=await job.result(0))
    except JobNotFound:
        return Outcome(known=False)
    except ResultTimeout:
        return Outcome(known=await job.status() is not JobStatus.not_found)
    except JobError as error:
        return Outcome(error=error)


async def told_calls(queue: Queue) -> dict[str, int]:
    """The calls of `promptmill cost`, by model. The soak may have begun before midnight."""
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    costs = await queue.costs(yesterday, by=("model",))
    return {str(cost.model): cost.calls for cost in costs}


async def leftovers(redis: Redis) -> Leftovers:
    """Every key, once. Only a handful may be without a TTL, and none may be of a job that has ended."""
    found = Leftovers()
    async for raw in redis.scan_iter(count=1_000):
        key = raw.decode()
        if key.startswith(KEYS.lane("")) or key == KEYS.queue:
            if await redis.zcard(key):
                found.lanes.append(key)
        elif key.startswith(KEYS.slots("")):
            if await redis.zcount(key, time() * 1000, "+inf"):
                found.held_slots.append(key)
        elif key.startswith(_OF_JOBS):
            found.of_jobs.append(key)
        if key not in KEYS_WITHOUT_TTL and await redis.ttl(key) < 0:
            found.immortal.append(key)
    return found
