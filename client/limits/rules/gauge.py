"""A limit key at one moment, as numbers, and why it takes no more. Pure; lua/room.lua decides by the same rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import floor
from typing import Literal, NamedTuple, TypeAlias

from .limit import Limit

BURST = 0.1  # of a minute: what a bucket holds
RAMP_FROM = 0.5  # of it, at once, where calls were answered all the while; after an outage, one call
RAMP_MS = 1_000  # from a cooldown's end to the full concurrency
PATIENCE_MS = 1_000  # no refusal of the first call after a cooldown for so long is as good as an answer
DAY_MS = 86_400_000
_DUST = 1e-6  # a bucket is refilled by fractions

Full: TypeAlias = Literal["paused", "cooldown", "concurrency", "requests", "tokens", "budget"]


class Blocked(NamedTuple):
    """Why a key takes no more: the kind, and the rest of a sentence that begins with the key."""

    reason: Full
    detail: str


def flow_of(row: Mapping[bytes, bytes]) -> dict[str, float]:
    """The hash of a limit key, as numbers."""
    return {name.decode(): float(value) for name, value in row.items()}


def lower(first: float | None, second: float | None) -> float | None:
    """The lower of two rates, either of which may be unknown."""
    return min((rate for rate in (first, second) if rate is not None), default=None)


def refilled(left: float | None, at_ms: float, now_ms: int, per_minute: float) -> float:
    """What a bucket of a rate holds now; a tenth of a minute at most. None: it was never used."""
    full = max(1.0, per_minute * BURST)
    return full if left is None else min(full, left + (now_ms - at_ms) * per_minute / 60_000)


@dataclass(frozen=True, slots=True)
class Gauge:
    """What is known of a limit key at `now_ms`. `flow` are the fields of mill:flow:{key}."""

    limit: Limit
    flow: Mapping[str, float]
    in_use: int
    now_ms: int

    @property
    def effective(self) -> int | None:
        """How many at once, now that the provider has had its say; None: without limit."""
        ceiling, cut = self.limit.concurrency, self.flow.get("eff")
        if cut is None:
            return ceiling
        most = max(1, floor(cut))
        return most if ceiling is None else min(ceiling, most)

    @property
    def cooldown_ms(self) -> int:
        return max(0, round(self.flow.get("cool_ms", 0) - self.now_ms))

    @property
    def rpm(self) -> float | None:
        """Requests a minute: ours, or the provider's own where that is lower."""
        return lower(self.limit.rpm, self.flow.get("rpm_seen"))

    @property
    def tpm(self) -> float | None:
        return lower(self.limit.tpm, self.flow.get("tpm_seen"))

    @property
    def requests_left(self) -> float | None:
        """In the bucket; None: without limit."""
        return self._left("req", self.rpm)

    @property
    def tokens_left(self) -> float | None:
        """In the bucket; below 0 where estimates were too low."""
        return self._left("tok", self.tpm)

    @property
    def tokens_today(self) -> int:
        return round(self.flow.get("day_tok", 0)) if self._is_today else 0

    @property
    def usd_today(self) -> float:
        return self.flow.get("day_usd", 0.0) if self._is_today else 0.0

    @property
    def usd_total(self) -> float:
        return self.flow.get("usd", 0.0)

    @property
    def _is_today(self) -> bool:
        return self.flow.get("day") == self.now_ms // DAY_MS

    def _left(self, name: str, per_minute: float | None) -> float | None:
        if per_minute is None:
            return None
        at_ms = self.flow.get(f"{name}_ms", self.now_ms)
        return refilled(self.flow.get(name), at_ms, self.now_ms, per_minute)

    def blocked(self, tokens: int = 0, usd: float | None = None) -> Blocked | None:
        """Why a job of so many tokens cannot start now, or None where it can."""
        return self._closed() or self._crowded() or self._spent(tokens, usd)

    def _closed(self) -> Blocked | None:
        if self.limit.paused:
            return Blocked("paused", "it is paused")
        if self.limit.concurrency == 0:
            return Blocked("concurrency", "it is closed by concurrency=0")
        if self.cooldown_ms:
            return Blocked("cooldown", f"it cools down for another {self.cooldown_ms / 1000:.1f} s")
        half_ms = self.flow.get("half_ms", 0)
        tried = half_ms >= self.flow.get("cool_ms", 0) and self.now_ms < half_ms + PATIENCE_MS
        if self.flow.get("cool_n", 0) > 0 and tried:
            return Blocked("cooldown", "after its cooldown, one call goes first")
        return None

    def _crowded(self) -> Blocked | None:
        most = self.effective
        if most is not None:
            cool_ms, slow_ms = self.flow.get("cool_ms", 0), self.flow.get("slow_ms", 0)
            begins = 0.0 if slow_ms > cool_ms else RAMP_FROM
            if (ramp := (self.now_ms - max(slow_ms, cool_ms)) / RAMP_MS) < 1:
                most = max(1, floor(most * (begins + (1 - begins) * ramp)))
            if self.in_use >= most:
                return Blocked("concurrency", f"{self.in_use:,} of {most:,} slots are in use")
        requests = self.requests_left
        if requests is not None and floor(requests + _DUST) < 1:
            return Blocked("requests", f"its {self.rpm:,.10g} requests a minute are used")
        return None

    def _spent(self, tokens: int, usd: float | None) -> Blocked | None:
        if self.tpm is not None and self.tokens_left is not None:
            wanted = min(tokens, max(1.0, self.tpm * BURST))  # a larger call goes when the bucket is full
            if self.tokens_left < wanted - _DUST:
                return Blocked("tokens", f"its {self.tpm:,.10g} tokens a minute are used")
        limit, cost_usd = self.limit, usd or 0
        if limit.tpd and self.tokens_today + min(tokens, limit.tpd) > limit.tpd:
            return Blocked("budget", f"{self.tokens_today:,} of {limit.tpd:,} tokens of today are used")
        if limit.usd_total is not None and self.usd_total + cost_usd > limit.usd_total:
            return Blocked("budget", f"{_usd(self.usd_total)} of {_usd(limit.usd_total)} USD are spent")
        if limit.usd_per_day is not None and self.usd_today + cost_usd > limit.usd_per_day:
            spent = f"{_usd(self.usd_today)} of {_usd(limit.usd_per_day)} USD"
            return Blocked("budget", f"{spent} of today are spent")
        if usd is None and self.in_use and (limit.usd_total is not None or limit.usd_per_day is not None):
            return Blocked("budget", "the model's price is learned from one call first")
        return None


def _usd(amount: float) -> str:
    return f"{amount:,.2f}" if amount >= 0.01 or not amount else f"{amount:,.6f}"
