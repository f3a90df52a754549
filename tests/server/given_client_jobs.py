"""What the contract tests of the client share: a job as it is on the wire, and what a worker does to it."""

from __future__ import annotations

from typing import Any

from client import Queue, decode, encode
from tests.conftest import KEYS

CHATS = KEYS.lane("@chat")  # where chats go that say no more than their prompt


async def payload(queue: Queue, job_id: str) -> dict[str, Any]:
    data = await queue.session.redis.get(KEYS.job(job_id))
    assert data is not None
    return decode(data)


async def finish(queue: Queue, job_id: str, outcome: object) -> None:
    """What a worker does at the end of a job."""
    job = await payload(queue, job_id)
    failed = isinstance(outcome, BaseException)
    record = {**job, "t": 1, "s": not failed, "r": outcome, "st": job["et"], "ft": job["et"]}
    async with queue.session.redis.pipeline(transaction=True) as end:
        end.set(KEYS.result(job_id), encode(record | {"id": job_id}), ex=60)
        end.delete(KEYS.job(job_id), KEYS.in_progress(job_id))
        end.zrem(job["q"], job_id)
        end.publish(KEYS.done_channel(job_id), "")
        await end.execute()


async def run(queue: Queue, job_id: str) -> None:
    """What a worker does at the start of a job."""
    await queue.session.redis.set(KEYS.in_progress(job_id), b"1", px=60_000)
