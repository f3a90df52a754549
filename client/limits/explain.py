"""What stands in the way of a job or a call, as explain.lua finds it by the rules of those that admit."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, TypeAlias

from redis.asyncio import Redis

from ..redis.scripts import scripts
from ..wire.keys import Keys
from ..wire.record import LAST_MS

Full: TypeAlias = Literal["paused", "cooldown", "concurrency", "requests", "tokens", "budget"]

# Why a key takes no more, as room.lua names it: the kind, and the rest of a sentence that begins with the key.
_WORDS: dict[str, tuple[Full, str]] = {
    "paused": ("paused", "it is paused"),
    "closed": ("concurrency", "it is closed by concurrency=0"),
    "cooldown": ("cooldown", "it cools down for another {0:.1f} s"),
    "probe": ("cooldown", "after its cooldown, one call goes first"),
    "slots": ("concurrency", "{0:,} of {1:,} slots are in use"),
    "requests": ("requests", "its {0:,.10g} requests a minute are used"),
    "tokens": ("tokens", "its {0:,.10g} tokens a minute are used"),
    "rpd": ("budget", "{0:,} of {1:,} requests of today are used"),
    "tpd": ("budget", "{0:,} of {1:,} tokens of today are used"),
    "usd_total": ("budget", "{0} of {1} USD are spent"),
    "usd_per_day": ("budget", "{0} of {1} USD of today are spent"),
    "price": ("budget", "the model's price is learned from one call first"),
}


class Blocked(NamedTuple):
    """Why a key takes no more."""

    reason: Full
    detail: str


class Seen(NamedTuple):
    """A limit key of the job or the call."""

    key: str
    lanes_ahead: int | None  # in its queue; None: it does not wait there
    gate_ms: float | None  # when it is looked at next
    blocked: Blocked | None  # None: it has room
    holders: list[tuple[bytes, float]]  # and when their leases end, Unix ms; the first ten


class Found(NamedTuple):
    """A job in its lane, or a call, and its limit keys."""

    lane: str  # its name
    now_ms: int
    due_ms: int | None
    ahead: int | None  # jobs before it
    tried: bool
    worker: bool  # one has reported of late
    keys: list[Seen]


async def found(redis: Redis, keys: Keys, who: str, lane: str = "", queue: str | None = None) -> Found:
    """Of a job's id, the key of its lane and its workers' queue; or of a call's ticket. One round trip, a read."""
    (script,) = scripts(redis, __package__, keys, "explain")
    now_ms, due_ms, ahead, tried, worker, rows = await script(
        args=[who, lane, keys.health(queue or keys.queue)]
    )
    due = None if due_ms is None else int(min(max(float(due_ms), 0), LAST_MS))
    return Found(
        keys.lane_name(lane) or lane, now_ms, due, ahead, tried > 0, worker > 0, [_seen(*row) for row in rows]
    )


def blocked_by(why: str, *numbers: float) -> Blocked:
    """The reason and its numbers, in words."""
    reason, words = _WORDS[why]
    return Blocked(reason, words.format(*(map(_usd, numbers) if why.startswith("usd") else numbers)))


def _seen(
    key: bytes, ahead: int | None, gate: bytes | None, why: bytes, numbers: list[bytes], held: Any
) -> Seen:
    blocked = blocked_by(why.decode(), *map(_number, numbers)) if why else None
    holders = [(holder, float(end_ms)) for holder, end_ms in zip(held[::2], held[1::2], strict=True)]
    return Seen(key.decode(errors="replace"), ahead, None if gate is None else float(gate), blocked, holders)


def _number(text: bytes) -> float:
    return int(text) if text.lstrip(b"-").isdigit() else float(text)


def _usd(amount: float) -> str:
    return f"{amount:,.2f}" if amount >= 0.01 or not amount else f"{amount:,.6f}"
