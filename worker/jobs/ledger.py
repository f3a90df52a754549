"""The failed attempts of a job that is still alive: one Redis list, best effort.

The ledger is for people and for counting tries. A Redis that cannot be reached must cost neither the
retry that was decided nor the answer that was paid for, so a failure here is a warning in the log.
"""

from __future__ import annotations

import logging
from typing import Any

from pydantic_core import from_json, to_json
from redis.exceptions import RedisError

from client import keys
from client.schemas import Attempt

MAX_ATTEMPTS = 200  # remembered; a job may be turned away for a day, its result must not grow as long
RETRY_TTL_S = 88_400  # seconds; what arq gives its own count of tries

logger = logging.getLogger("promptmill.ledger")


async def read(ctx: dict[str, Any]) -> list[Attempt]:
    """The attempts before this run, oldest first. A job on its first run costs no round trip."""
    if not _has_run_before(ctx):
        return []
    try:
        rows = await ctx["redis"].lrange(keys.attempts(ctx["job_id"]), 0, -1)
        return [Attempt.model_validate(from_json(row)) for row in rows]
    except (RedisError, OSError, ValueError) as error:  # ValueError: rows of another version
        logger.warning("%s: cannot read its attempts: %s", ctx["job_id"], error)
        return []


async def append(ctx: dict[str, Any], attempt: Attempt, *, is_first: bool, uses_a_try: bool) -> None:
    """Writes a failed attempt, and takes back the try that arq counted if it uses none. One round trip."""
    job_id = ctx["job_id"]
    key = keys.attempts(job_id)
    try:
        async with ctx["redis"].pipeline(transaction=True) as pipe:
            if is_first:  # an aborted job of the same id may have left its list behind
                pipe.delete(key)
            pipe.rpush(key, to_json(attempt))
            pipe.ltrim(key, -MAX_ATTEMPTS, -1)
            pipe.expire(key, keys.ATTEMPTS_TTL_S)
            if not uses_a_try:
                pipe.decr(keys.retry(job_id))
                pipe.expire(keys.retry(job_id), RETRY_TTL_S)  # DECR makes a lost key anew, without a TTL
            await pipe.execute()
    except (RedisError, OSError) as error:
        logger.warning("%s: cannot write its attempt %d: %s", job_id, attempt.number, error)


async def delete(ctx: dict[str, Any]) -> None:
    """Forgets the attempts of a job that has ended."""
    try:
        await ctx["redis"].delete(keys.attempts(ctx["job_id"]))
    except (RedisError, OSError) as error:
        logger.warning("%s: cannot delete its attempts: %s", ctx["job_id"], error)


def _has_run_before(ctx: dict[str, Any]) -> bool:
    """Attempts that use no try leave `job_try` at 1, but move the job away from its first score."""
    first_score_ms = round(ctx["enqueue_time"].timestamp() * 1000)
    return bool(ctx["job_try"] > 1 or ctx.get("score") != first_score_ms)
