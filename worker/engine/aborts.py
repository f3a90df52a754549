"""What plain arq clients want aborted: they write a request, but tell nobody."""

from __future__ import annotations

from typing import Any

from client.redis.strange import nothing_if_strange

NEWEST = 100  # requests looked at: old ones, for jobs that had ended, must not hide new ones


async def asked_for(redis: Any, key: str) -> list[tuple[str, float]]:
    """The ids of the latest requests, and when each was made, Unix ms."""
    found: list[tuple[bytes, float]] = []
    with nothing_if_strange():
        found = await redis.zrange(key, 0, NEWEST - 1, desc=True, withscores=True)
    return [(job_id.decode(errors="replace"), asked_ms) for job_id, asked_ms in found]
