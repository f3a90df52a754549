"""Why a job has not started: what it waits for, who is ahead, when it is looked at next."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from redis.asyncio import Redis

from ..wire.keys import Keys
from ..wire.record import utc
from ..words import counted
from .explain import Blocked, Found, Full, Seen, found

Reason: TypeAlias = Full | Literal["its turn", "no worker", "deferred", "retry"]


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has a slot: a job's id, or '!…' for a call of its own."""

    id: str
    lease_s: float  # until it ends; below 0: it ended so long ago and counts no more


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a job has not started, at the server's time `asked_at`. `sentence` says it all to a person."""

    sentence: str
    reason: Reason
    lane: str
    position: int | None  # jobs ahead of it in its lane; None: it is not due yet
    key: str | None  # the limit key that has no room
    lanes_ahead: int  # in that key's queue
    holders: tuple[Holder, ...]  # of that key's slots, the ten whose leases end first
    next_at: datetime | None  # when it, or its key, is looked at next, should nothing wake it before
    asked_at: datetime


async def why(redis: Redis, keys: Keys, queue: str, job_id: str, lane: str) -> Waiting:
    """Why the job waits; `lane` is the key of its lane. One round trip."""
    return explain(await found(redis, keys, job_id, lane, queue))


def explain(job: Found) -> Waiting:
    """What the numbers come to."""
    if job.due_ms is not None and job.due_ms > job.now_ms:
        return _not_due(job, job.due_ms)
    if not job.worker:
        return _waiting(job, "no worker", f"waits for a worker: none has reported of late{_ahead(job, 0)}")
    full = [(one, one.blocked) for one in job.keys if one.blocked]
    queued = [one for one in job.keys if one.lanes_ahead is not None]
    if full:
        return _for_key(job, *min(full, key=lambda pair: pair[0].lanes_ahead is None))  # where it waits
    if queued:
        text = f"waits for {queued[0].key}, which has room: its turn comes at the next look"
        return _waiting(job, "its turn", text + _ahead(job, queued[0].lanes_ahead or 0), queued[0])
    return _waiting(job, "its turn", f"waits for its turn: no limit holds it{_ahead(job, 0)}")


def _not_due(job: Found, due_ms: float) -> Waiting:
    moment = f"{utc(due_ms):%F %T} UTC"
    reason: Reason = "retry" if job.tried else "deferred"
    text = f"waits for its next try at {moment}" if job.tried else f"is deferred until {moment}"
    return _waiting(job._replace(ahead=None), reason, text)


def _for_key(job: Found, seen: Seen, blocked: Blocked) -> Waiting:
    text = f"waits for {seen.key}: {blocked.detail}{_ahead(job, seen.lanes_ahead or 0)}"
    if seen.gate_ms is not None:
        text += f"; next look in {max(0.0, seen.gate_ms - job.now_ms) / 1000:.1f} s"
    return _waiting(job, blocked.reason, text, seen)


def _waiting(job: Found, reason: Reason, sentence: str, seen: Seen | None = None) -> Waiting:
    next_ms = job.due_ms if reason in ("deferred", "retry") else seen and seen.gate_ms
    holders = seen.holders if seen else []
    return Waiting(
        sentence=f"{sentence}.",
        reason=reason,
        lane=job.lane,
        position=job.ahead,
        key=seen and seen.key,
        lanes_ahead=(seen and seen.lanes_ahead) or 0,
        holders=tuple(
            Holder(id_.decode(errors="replace"), (end_ms - job.now_ms) / 1000) for id_, end_ms in holders
        ),
        next_at=None if next_ms is None else utc(next_ms),
        asked_at=utc(job.now_ms),
    )


def _ahead(job: Found, lanes: int) -> str:
    """`; 12 jobs and 3 lanes are ahead`, or nothing."""
    said = [counted(number, noun) for number, noun in ((job.ahead or 0, "job"), (lanes, "lane")) if number]
    if not said:
        return ""
    verb = "is" if len(said) == 1 and said[0].startswith("1 ") else "are"
    return f"; {' and '.join(said)} {verb} ahead"
