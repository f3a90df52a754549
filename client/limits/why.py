"""Why a job has not started: what it waits for, who is ahead, when it is looked at next."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from math import ceil
from typing import Literal, NamedTuple, TypeAlias

from redis.asyncio import Redis

from ..wire.keys import KEYS
from .listing import unix_ms
from .rules.gauge import Blocked, Full, Gauge, flow_of
from .rules.lanes import limit_keys
from .rules.limit import from_json, in_force, names_of

MAX_HOLDERS = 10

Reason: TypeAlias = Full | Literal["its turn", "no worker", "deferred", "retry"]

_ESTIMATE = re.compile(rb'\{"n":(-?\d+),"m":(-?\d+),')  # input and output tokens, as a payload begins


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


class LanePlace(NamedTuple):
    """A job in its lane."""

    lane: str  # its name
    now_ms: int
    due_ms: float | None
    ahead: int | None
    tried: bool
    worker: bool


class Seen(NamedTuple):
    """A limit key of the lane."""

    key: str
    gauge: Gauge
    lanes_ahead: int | None  # None: the lane does not wait in this key's queue
    gate_ms: float | None
    holders: list[tuple[bytes, float]]


async def why(redis: Redis, queue: str, job_id: str, lane: str, payload: bytes) -> Waiting:
    """Why the job waits; `lane` is the key of its lane. Two round trips."""
    async with redis.pipeline(transaction=False) as look:
        look.time()
        look.zscore(lane, job_id)
        look.zrank(lane, job_id)
        look.exists(KEYS.attempts(job_id), KEYS.retry(job_id))
        look.exists(KEYS.health(queue))
        look.hgetall(KEYS.aliases)
        time, due_ms, ahead, tried, worker, aliases = await look.execute()
    now_ms = unix_ms(time)
    place = LanePlace(lane_name(lane), now_ms, due_ms, ahead, bool(tried), bool(worker))
    names = _keys_of(lane, {alias.decode(): model.decode() for alias, model in aliases.items()})
    seen = await _look(redis, names, lane, now_ms) if names else []
    return explain(place, seen, payload)


def explain(place: LanePlace, seen: Sequence[Seen], payload: bytes) -> Waiting:
    """What the numbers come to."""
    if place.due_ms is not None and place.due_ms > place.now_ms:
        return _not_due(place, place.due_ms)
    if not place.worker:
        text = f"waits for a worker: none has reported of late{_ahead(place, 0)}"
        return _waiting(place, "no worker", text)
    is_model = bool(seen) and "/" in seen[0].key[1:]
    tokens, usd = estimate(payload, seen[0].gauge.flow if is_model else None)
    full = [(one, blocked) for one in seen if (blocked := one.gauge.blocked(tokens, usd))]
    queued = [one for one in seen if one.lanes_ahead is not None]
    if full:
        return _for_key(place, *min(full, key=lambda pair: pair[0].lanes_ahead is None))  # where it waits
    if queued:
        text = f"waits for {queued[0].key}, which has room: its turn comes at the next look"
        return _waiting(place, "its turn", text + _ahead(place, queued[0].lanes_ahead or 0), queued[0])
    return _waiting(place, "its turn", f"waits for its turn: no limit holds it{_ahead(place, 0)}")


def estimate(payload: bytes, model: Mapping[str, float] | None) -> tuple[int, float | None]:
    """Tokens that the job reserves and their price (None: unknown), as lua/room.lua reckons.

    `model` is what has been learned of its model; None where it has none.
    """
    found = _ESTIMATE.match(payload)
    if not found:
        return 0, 0.0
    given, output = int(found[1]), int(found[2])
    learned = model or {}
    output = ceil(learned.get("out", 0)) if output == 0 else max(0, output)
    if model is None or learned.get("unpriced") == 1:
        return given + output, 0.0
    price = learned.get("in_usd")
    usd = None if price is None else given * price + output * learned.get("out_usd", 0)
    return given + output, usd


def lane_name(lane: str) -> str:
    """The name in a lane's key; the default queue is its own."""
    return lane.removeprefix(KEYS.lane(""))


def _keys_of(lane: str, aliases: dict[str, str]) -> tuple[str, ...]:
    return limit_keys(lane_name(lane), aliases) if lane.startswith(KEYS.lane("")) else ()


async def _look(redis: Redis, names: Sequence[str], lane: str, now_ms: int) -> list[Seen]:
    entries = list(dict.fromkeys(entry for name in names for entry in names_of(name)))
    async with redis.pipeline(transaction=False) as look:
        look.hmget(KEYS.limits, entries)
        for name in names:
            look.hgetall(KEYS.flow(name))
            look.zcount(KEYS.slots(name), f"({now_ms}", "+inf")
            look.zrank(KEYS.blocked(name), lane)
            look.zscore(KEYS.gates, name)
            # those at 0 were evicted
            look.zrangebyscore(KEYS.slots(name), 1, "+inf", start=0, num=MAX_HOLDERS, withscores=True)
        texts, *rest = await look.execute()
    limits = {name: from_json(text) for name, text in zip(entries, texts, strict=True) if text is not None}
    replies = iter(rest)
    rows = [(name, tuple(islice(replies, 5))) for name in names]
    return [
        Seen(name, Gauge(in_force(name, limits).limit, flow_of(flow), in_use, now_ms), *queue)
        for name, (flow, in_use, *queue) in rows
    ]


def _not_due(place: LanePlace, due_ms: float) -> Waiting:
    moment = f"{_utc(due_ms):%F %T} UTC"
    reason: Reason = "retry" if place.tried else "deferred"
    text = f"waits for its next try at {moment}" if place.tried else f"is deferred until {moment}"
    return _waiting(place._replace(ahead=None), reason, text)


def _for_key(place: LanePlace, seen: Seen, blocked: Blocked) -> Waiting:
    text = f"waits for {seen.key}: {blocked.detail}{_ahead(place, seen.lanes_ahead or 0)}"
    if seen.gate_ms is not None:
        text += f"; next look in {max(0.0, seen.gate_ms - place.now_ms) / 1000:.1f} s"
    return _waiting(place, blocked.reason, text, seen)


def _waiting(place: LanePlace, reason: Reason, sentence: str, seen: Seen | None = None) -> Waiting:
    next_ms = place.due_ms if reason in ("deferred", "retry") else seen and seen.gate_ms
    holders = seen.holders if seen else []
    return Waiting(
        sentence=f"{sentence}.",
        reason=reason,
        lane=place.lane,
        position=place.ahead,
        key=seen and seen.key,
        lanes_ahead=(seen and seen.lanes_ahead) or 0,
        holders=tuple(Holder(id_.decode(), (end_ms - place.now_ms) / 1000) for id_, end_ms in holders),
        next_at=None if next_ms is None else _utc(next_ms),
        asked_at=_utc(place.now_ms),
    )


def _ahead(place: LanePlace, lanes: int) -> str:
    """`; 12 jobs and 3 lanes are ahead`, or nothing."""
    counts = [_count(place.ahead or 0, "job"), _count(lanes, "lane")]
    said = [count for count in counts if count]
    if not said:
        return ""
    verb = "is" if len(said) == 1 and said[0].startswith("1 ") else "are"
    return f"; {' and '.join(said)} {verb} ahead"


def _count(number: int, noun: str) -> str:
    return "" if not number else f"{number:,} {noun}{'s' if number > 1 else ''}"


def _utc(ms: float) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
