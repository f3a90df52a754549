"""The attempts of a job that is still alive, of all its runs that were not answered: one Redis list.

A run's own are in its meter. They are written by the script that takes its outcome, at once with it and under its
fencing token, so whatever an outage delays or a second worker overtakes, a run is told of whole, once, or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime

from pydantic_core import from_json
from redis.exceptions import RedisError

from client import words
from client.errors import JobCrashed
from client.wire.keys import MAX_ATTEMPTS
from client.wire.schemas import Attempt
from client.wire.token import claimed_us
from promptmill.dialects import Route
from worker.unreachable import outlasting

from .services import JobContext
from .totals import Counted, tenant_of

logger = words.logger("promptmill.ledger")


async def read(ctx: JobContext, model: str) -> list[Attempt]:
    """The attempts before this run, oldest first. A job on its first run costs no round trip.

    Waits for a Redis that is away: nothing is paid for yet. What a worker was doing when it died is among them, as a
    call to `model` that may have been made; if this run is not answered, it is told of with it.
    """
    if not ctx.has_run:
        return []
    try:
        rows, crashes = await outlasting(lambda: _rows(ctx))
    except RedisError as error:
        logger.warning("%s: cannot read its attempts: %s", ctx.job_id, error)
        return []
    past = list(_readable(rows))
    if strange := len(rows) - len(past):
        logger.warning(
            "%s: cannot read %s", ctx.job_id, words.counted(strange, "of its attempts", "of its attempts")
        )
    known = sum(attempt.error == JobCrashed.__name__ for attempt in past)
    first = past[-1].number + 1 if past else 1
    lost: list[Attempt] = []
    for number, crash in enumerate(crashes[known:], first):
        with suppress(ValueError, OverflowError):  # a stranger's
            lost.append(_lost(crash, number, model))
    for attempt in lost:
        tell(ctx, attempt)  # its calls are in the totals: they were counted as they began
    return past + lost


async def _rows(ctx: JobContext) -> tuple[list[bytes], list[bytes]]:
    keys = ctx.services.keys
    async with ctx.services.redis.pipeline(transaction=False) as pipe:
        pipe.lrange(keys.attempts(ctx.job_id), -MAX_ATTEMPTS, -1)
        pipe.lrange(keys.crashes(ctx.job_id), -MAX_ATTEMPTS, -1)
        rows, crashes = await pipe.execute()
    return rows, crashes


def _readable(rows: Iterable[bytes]) -> Iterator[Attempt]:
    for row in rows:
        with suppress(ValueError):  # of another version
            yield Attempt.model_validate(from_json(row))


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


def tell(ctx: JobContext, attempt: Attempt) -> None:
    """Tells the runs after this one of an attempt, unless this one is answered. Nothing is written here."""
    told = ctx.meter.attempts
    told.append(attempt)
    del told[:-MAX_ATTEMPTS]


def begin(ctx: JobContext, route: Route) -> Counted:
    """Counts a call that begins in the totals. Nothing is written here: see worker/jobs/totals.py."""
    return ctx.services.totals.begin(str(route), tenant_of(ctx.lane))
