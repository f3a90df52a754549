"""The attempts of a job that is still alive, all of them without an answer: one Redis list, best effort.

The ledger is for people and for counting tries. A Redis that cannot be reached must cost neither the
retry that was decided nor the answer that was paid for, so a failure here is a warning in the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from pydantic_core import from_json, to_json
from redis.exceptions import RedisError

from client import words
from client.errors import JobCrashed
from client.wire.keys import ATTEMPTS_TTL_S, KEYS
from client.wire.schemas import Attempt
from client.wire.token import claimed_us

from .services import JobContext
from .totals import tenant_of

MAX_ATTEMPTS = 200  # remembered; a job may be turned away for a day, its result must not grow as long

logger = words.logger("promptmill.ledger")


async def read(ctx: JobContext, model: str) -> list[Attempt]:
    """The attempts before this run, oldest first. A job on its first run costs no round trip.

    What a worker was doing when it died is taken down here, as a call to `model` that may have been made.
    """
    if not ctx.has_run:
        return []
    job_id = ctx.job_id
    try:
        async with ctx.services.redis.pipeline(transaction=False) as pipe:
            pipe.lrange(KEYS.attempts(job_id), 0, -1)
            pipe.lrange(KEYS.crashes(job_id), 0, -1)
            rows, crashes = await pipe.execute()
        past = [Attempt.model_validate(from_json(row)) for row in rows]
        known = sum(attempt.error == JobCrashed.__name__ for attempt in past)
        first = past[-1].number + 1 if past else 1
        lost = [_lost(crash, number, model) for number, crash in enumerate(crashes[known:], first)]
    except (RedisError, OSError, ValueError) as error:  # ValueError: rows of another version
        logger.warning("%s: cannot read its attempts: %s", job_id, error)
        return []
    if lost:
        for attempt in lost:
            count(ctx, attempt)
        await append(ctx, lost, is_first=not past)
    return past + lost


def _lost(crash: bytes, number: int, model: str) -> Attempt:
    """From '{ms, when its lease had lapsed} {its token}'."""
    seen_ms, token = crash.decode().split(" ", 1)
    began_s = claimed_us(token) / 1e6
    return Attempt(
        number=number,
        model=model,
        started_at=datetime.fromtimestamp(began_s, UTC),
        duration_s=max(0.0, int(seen_ms) / 1000 - began_s),
        error=JobCrashed.__name__,
    )


def count(ctx: JobContext, attempt: Attempt) -> None:
    """Adds an attempt to the totals of its day. Nothing is written here: see worker/jobs/totals.py."""
    ctx.services.totals.add(attempt, tenant_of(ctx.lane))


async def append(ctx: JobContext, attempts: Sequence[Attempt], *, is_first: bool) -> None:
    """Writes attempts of a run that failed. One round trip. The script that finishes the job deletes all."""
    job_id = ctx.job_id
    key = KEYS.attempts(job_id)
    try:
        async with ctx.services.redis.pipeline(transaction=True) as pipe:
            if is_first:
                pipe.delete(key)
            pipe.rpush(key, *map(to_json, attempts[-MAX_ATTEMPTS:]))
            pipe.ltrim(key, -MAX_ATTEMPTS, -1)
            pipe.expire(key, ATTEMPTS_TTL_S)
            await pipe.execute()
    except (RedisError, OSError) as error:
        logger.warning("%s: cannot write its attempt %d: %s", job_id, attempts[-1].number, error)
