"""Outcomes that are too large: one of them fails its own job, and nothing else."""

from __future__ import annotations

import re
from typing import Any

from pydantic_core import from_json

from client import encode, words
from client.errors import Unserializable
from client.wire import events
from client.wire.record import now_ms
from client.wire.token import claimed_us

from .run import RETRY_TTL_S, UNKNOWN, Ended
from .scripts import Outcome, Parts

MB = 1_000_000
LEAST_LIMIT_BYTES = 1024 * 1024  # proto-max-bulk-len cannot be lower: no server hangs up because of less

_FUNCTION = re.compile(rb'"f":("(?:[^"\\]|\\.){1,200}")')
_HEAD_BYTES = 4_096  # the function is told before the arguments

logger = words.logger("arq.worker")


def size_of(ended: Outcome | Parts) -> int:
    """What it brings along, in bytes."""
    if isinstance(ended, Parts):
        return sum(map(len, ended.fields.values()))
    return len(ended.text) + len(ended.attempts) + len(ended.to)


def fitting(ended: Ended, limit_bytes: int) -> Ended:
    """What a run came to, if it may be written; else that it is too large."""
    size_bytes = size_of(ended.outcome)
    if size_bytes <= limit_bytes:
        return ended
    why = f"more than MAX_RESULT_MB={limit_bytes / MB:g} allows"
    return Ended(refused(ended.outcome, why), "failed")


def refused(outcome: Outcome, why: str) -> Outcome:
    """The end of a job whose outcome cannot be written: a small error, which says why."""
    lease = outcome.lease
    error = Unserializable(
        f"What the job came to has {size_of(outcome):,} bytes, {why}: let it return less, or where to find it."
    )
    logger.warning("! %s failed, %s: %s", lease.job_id, type(error).__name__, error)
    is_end, began_ms = outcome.verb in ("done", "dead"), claimed_us(lease.token) // 1_000
    found = _FUNCTION.search(outcome.text, 0, _HEAD_BYTES)
    told: dict[str, Any] = {
        "t": 1,
        "f": from_json(found[1]) if found else UNKNOWN,
        "a": [],
        "k": {},
        "et": began_ms,
    }
    ended = {"s": False, "r": error, "st": began_ms, "ft": now_ms(), "q": lease.lane, "id": lease.job_id}
    return outcome._replace(
        verb=outcome.verb if is_end else "done",
        text=encode(told | ended),
        ttl_ms=outcome.ttl_ms if is_end else RETRY_TTL_S * 1000,
        delay_ms=0,
        to=events.failed(error).decode() if is_end and outcome.to else "",
        attempts=b"",
    )
