"""A limit key at one moment, as the numbers that are listed. Pure; who may go, and why not, is for Lua to say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import floor

from .limit import Limit

BURST = 0.1  # of a minute: what a bucket holds
DAY_MS = 86_400_000


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
