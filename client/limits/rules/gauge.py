"""A limit key at one moment, as the numbers that are listed. Pure; who may go, and why not, is for Lua to say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import floor

from .limit import Limit

BURST = 0.1  # of a minute: what a bucket holds
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class LimitState:
    """A limit key, or a pattern, at one moment. None: without limit."""

    key: str
    limit: Limit  # in force
    source: str  # "own", the pattern it comes from, "default" or "none"
    effective: int | None  # at once, now that the provider has had its say
    in_use: int
    waiting: int  # jobs that are due, and calls, in all lanes of the key, whatever they wait for
    blocked_lanes: int
    cooldown_s: float  # until it is tried again; 0: now
    rpm: float | None  # ours, or the provider's own where that is lower
    requests_left: float | None  # in the bucket, which holds a tenth of a minute
    tpm: float | None
    tokens_left: float | None  # below 0 where estimates were too low
    tokens_today: int  # UTC; counted where a rate or a budget is set
    usd_today: float
    usd_total: float
    paused: bool
    requests_today: int = 0
    overridden: str | None = (
        None  # what the settings say of it, in words, where it was changed since; '' for nothing
    )


def gauged(
    key: str,
    limit: Limit,
    source: str,
    flow: Mapping[str, float],
    now_ms: int,
    *,
    in_use: int,
    waiting: int,
    blocked_lanes: int,
    overridden: str | None = None,
) -> LimitState:
    """The state of a key at `now_ms`. `flow` are the fields of mill:flow:{key}."""
    rpm, tpm = lower(limit.rpm, flow.get("rpm_seen")), lower(limit.tpm, flow.get("tpm_seen"))
    is_today = flow.get("day") == now_ms // DAY_MS
    return LimitState(
        key=key,
        limit=limit,
        source=source,
        effective=_effective(limit.concurrency, flow.get("eff")),
        in_use=in_use,
        waiting=waiting,
        blocked_lanes=blocked_lanes,
        cooldown_s=max(0, round(flow.get("cool_ms", 0) - now_ms)) / 1000,
        rpm=rpm,
        requests_left=_left(flow, "req", rpm, now_ms),
        tpm=tpm,
        tokens_left=_left(flow, "tok", tpm, now_ms),
        tokens_today=round(flow.get("day_tok", 0)) if is_today else 0,
        usd_today=flow.get("day_usd", 0.0) if is_today else 0.0,
        usd_total=flow.get("usd", 0.0),
        paused=bool(limit.paused),
        requests_today=round(flow.get("day_req", 0)) if is_today else 0,
        overridden=overridden,
    )


def lower(first: float | None, second: float | None) -> float | None:
    """The lower of two rates, either of which may be unknown."""
    return min((rate for rate in (first, second) if rate is not None), default=None)


def refilled(left: float | None, at_ms: float, now_ms: int, per_minute: float) -> float:
    """What a bucket of a rate holds now; a tenth of a minute at most. None: it was never used."""
    full = max(1.0, per_minute * BURST)
    return full if left is None else min(full, left + (now_ms - at_ms) * per_minute / 60_000)


def _effective(ceiling: int | None, cut: float | None) -> int | None:
    if cut is None:
        return ceiling
    most = max(1, floor(cut))
    return most if ceiling is None else min(ceiling, most)


def _left(flow: Mapping[str, float], name: str, per_minute: float | None, now_ms: int) -> float | None:
    if per_minute is None:
        return None
    return refilled(flow.get(name), flow.get(f"{name}_ms", now_ms), now_ms, per_minute)
