"""The failed attempts of a job that is still alive: one Redis list, best effort.

The ledger is for people and for counting tries. A Redis that cannot be reached must cost neither the
retry that was decided nor the answer that was paid for, so a failure here is a warning in the log.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from pydantic_core import from_json, to_json
from redis.exceptions import RedisError

from client import keys
from client.schemas import Attempt
from worker.ledger import tenant_of

MAX_ATTEMPTS = 200  # remembered; a job may be turned away for a day, its result must not grow as long

logger = logging.getLogger("promptmill.ledger")


async def read(ctx: dict[str, Any]) -> list[Attempt]:
    """The attempts before this run, oldest first. A job on its first run costs no round trip."""
    if not ctx["has_run"]:
        return []
    try:
        rows = await ctx["redis"].lrange(keys.attempts(ctx["job_id"]), 0, -1)
        return [Attempt.model_validate(from_json(row)) for row in rows]
    except (RedisError, OSError, ValueError) as error:  # ValueError: rows of another version
        logger.warning("%s: cannot read its attempts: %s", ctx["job_id"], error)
        return []


def count(ctx: dict[str, Any], attempt: Attempt) -> None:
    """Adds an attempt to the totals of its day. Nothing is written here: see worker/ledger."""
    if book := ctx.get("book"):
        book.add(attempt, tenant_of(ctx["lane"]))


async def append(ctx: dict[str, Any], attempts: Sequence[Attempt], *, is_first: bool) -> None:
    """Writes the attempts of a run that failed. One round trip. The script that finishes the job deletes all."""
    job_id = ctx["job_id"]
    key = keys.attempts(job_id)
    try:
        async with ctx["redis"].pipeline(transaction=True) as pipe:
            if is_first:
                pipe.delete(key)
            pipe.rpush(key, *map(to_json, attempts[-MAX_ATTEMPTS:]))
            pipe.ltrim(key, -MAX_ATTEMPTS, -1)
            pipe.expire(key, keys.ATTEMPTS_TTL_S)
            await pipe.execute()
    except (RedisError, OSError) as error:
        logger.warning("%s: cannot write its attempt %d: %s", job_id, attempts[-1].number, error)
