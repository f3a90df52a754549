"""What the tests of finish.lua share: a job with a past, claimed, and the result of a job."""

from __future__ import annotations

from typing import Any

from client import encode
from tests.conftest import KEYS
from tests.server.test_engine_room import Room
from worker.engine.scripts import Lease

TTL_MS = 60_000


def record(job_id: str, value: Any = "answer", *, success: bool = True) -> bytes:
    fields = {"t": 1, "f": "work", "a": [job_id], "k": {}, "et": 1, "s": success, "r": value}
    return encode(fields | {"st": 2, "ft": 3, "q": KEYS.queue, "id": job_id})


async def lease_of(room: Room, job_id: str = "a", *, lane: str = KEYS.queue) -> Lease:
    """A claimed job with everything that a job can have in Redis."""
    room.put(job_id, lane=lane)
    room.lapse((await room.claim_one()).lease)
    lease = (await room.claim_one()).lease
    room.raw.set(KEYS.retry(job_id), 1, px=TTL_MS)
    room.raw.rpush(KEYS.attempts(job_id), b'{"model":"m"}')
    room.raw.expire(KEYS.attempts(job_id), 60)
    return lease
